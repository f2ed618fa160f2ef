"""`lattice-trio bench`: it speaks HTTP, as any client does. What is where:

command, more_commands, suite_command, table_command     flags in, tables out
examples, failures                                       help texts; what the world outside does
load, http1, sse, whole, answers                         a request, and what a client notes of it
prompts, scenarios, player, bare_player, suite, arms     many of them, against several servers
limit, gateway, source, pass_through, soak, watching     measurements that start a server
process, echo_model, machine                             that server, its model, the machine
quality, tasks                                           does a swarm help
stats, figures, targets, verdicts                        figures, and what they are to reach
report, suite_report, table_report, html_report, plots   tables and pages
conversation                                             what works through another server
"""
