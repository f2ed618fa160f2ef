"""The reference of all routes for machines: ``GET /openapi.json`` (OpenAPI 3.1).

Bodies of requests are described by the very structs that decode them (`structs`); answers by
hand, which a test holds against real answers. Each area has a file with its schemas and its
operations; `document` puts them together.
"""
