"""The command line: the one place that sees server, dashboard and bench."""
