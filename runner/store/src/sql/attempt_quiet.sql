-- Caller: store/attempt, on a handler's connection, before each statement that carries the
-- ticket. Of all settings that write a statement's parameters or plans to the log, these are the
-- ones that every role may change; the others require a superuser, or a GRANT SET ON PARAMETER.
SET LOCAL log_parameter_max_length_on_error = 0;
SET LOCAL debug_print_parse = off;
SET LOCAL debug_print_rewritten = off;
SET LOCAL debug_print_plan = off;
SET LOCAL client_min_messages = error;
SET LOCAL client_encoding = 'UTF8'
