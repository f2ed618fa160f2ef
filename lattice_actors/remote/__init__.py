"""Models on other servers that speak OpenAI's protocol: one actor for each server."""
