"""OpenAI's wire: chats, completions, embeddings, models; and what the other wires share of it.

`bodies` checks JSON, `request` the fields of all answers, `wishes` those about waiting; `messages`,
`tools`, `grammars`, `inputs` and `template_options` a part of a body each; `answers`, `chunks` and
`logprobs` write.
"""
