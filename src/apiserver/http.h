// The HTTP face of the API server.
#pragma once
#include "apiserver/server.h"

struct http_handler http_face(struct apiserver *s);
