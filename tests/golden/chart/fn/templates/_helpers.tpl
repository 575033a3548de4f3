{{- define "fn.name" -}}
{{ .Release.Name }}-{{ .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- define "fn.labels" }}
app: {{ include "fn.name" . }}
version: {{ .Chart.AppVersion | quote }}
{{- end }}
