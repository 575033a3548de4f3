// The roles that host parts of the platform. Each takes argc/argv from its own name on and returns
// the exit status of the process.
#pragma once

int role_server(int argc, char **argv);
int role_image(int argc, char **argv);
int role_reset(int argc, char **argv);
