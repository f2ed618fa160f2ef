"""Everything over HTTP, and the command line. What is where, in the order of a request:

server, listening, door, guards, server_log     the serve loop, on Hypercorn's protocol classes
request_log, security, cors, hosts,             the wrappers in front of the app: what they refuse
request_line, answer                            never reaches a route
app, asgi, asking, errors, live                 routes, one shape for errors, streams entered first
openai, anthropic, responses, swarm             the wires: bodies in, answers and frames out
tokenizing, admin, health, metrics,             the other routes
openapi, llms
prompted, gateway, cloud, ticketing             from what is asked to tickets for admission
exchange, answering, body                       one request: its grants, its events, its stream
headers, sse, json_bytes, own_names             how things are written
lifecycle, log_lines                            the end of the process, and its log
cli, setup                                      `lattice-trio`; what init and doctor look at
"""
