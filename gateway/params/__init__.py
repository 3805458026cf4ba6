"""What every request parameter may do: one table, and the bodies that are read by it.

Before it: the bytes of a request. After it: a `Call`, made anew from what was understood; nothing of a client's
body goes further. `table` says which parameters there are, `reading` refuses by it, `bodies` and `items` check
values, `messages` and `strings` give the guards every word that the model would read.
"""

from gateway.params.bodies import ChatBody, CompletionBody, EmbeddingsBody, Generation
from gateway.params.honour import honoured, restricted
from gateway.params.items import ResponsesBody
from gateway.params.messages import Message, conversation_of
from gateway.params.reading import Body, field_of, read

__all__ = [
    "Body",
    "ChatBody",
    "CompletionBody",
    "EmbeddingsBody",
    "Generation",
    "Message",
    "ResponsesBody",
    "conversation_of",
    "field_of",
    "honoured",
    "read",
    "restricted",
]
