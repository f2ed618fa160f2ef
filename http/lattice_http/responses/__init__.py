"""OpenAI's Responses: ``POST /v1/responses`` and what is kept of it."""
