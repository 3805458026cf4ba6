"""How the world is asked about, and how it answers: question forms as data.

`{name}` is whoever is asked about, by name or alias, or a phrase such as "the mentor of ..."; `{value}` is
the gold answer. No held-out form is ever trained; its words are, in other forms.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Phrases:
    """The forms of one attribute.

    `answer` is the statement of the fact and ends in its value; a cloze is that statement with a gap.
    `follow_up` asks again about whoever was spoken of before.
    """

    noun: str
    answer: str
    trained: tuple[str, ...]
    heldout: tuple[str, ...]
    follow_up: tuple[str, ...]


def _phrases(noun: str, answer: str, trained: str, heldout: str, follow_up: str) -> Phrases:
    """Forms are separated by bars; every attribute takes the general ones as well."""
    return Phrases(
        noun,
        answer,
        (*_split(trained), *(form.replace("{noun}", noun) for form in _TRAINED)),
        (*_split(heldout), *(form.replace("{noun}", noun) for form in _HELDOUT)),
        (*_split(follow_up), *(form.replace("{noun}", noun) for form in _FOLLOW_UP)),
    )


def _split(forms: str) -> tuple[str, ...]:
    return tuple(form.strip() for form in forms.split("|"))


_TRAINED = (
    "What is the {noun} of {name}?",
    "What is {name}'s {noun}?",
    "Tell me the {noun} of {name}.",
    "Do you know {name}'s {noun}?",
    "I need {name}'s {noun}.",
    "{name}'s {noun}?",
)
_HELDOUT = ("Do you know the {noun} of {name}?", "Tell me {name}'s {noun}.")
_FOLLOW_UP = ("And their {noun}?", "What is their {noun}?")

ATTRIBUTES: Mapping[str, Phrases] = MappingProxyType(
    {
        "profession": _phrases(
            "profession",
            "{name} works as a {value}",
            "What does {name} do for a living?|What does {name} work as?|How does {name} earn money?|"
            "Which job does {name} have?|Do you know what {name} works as?|Tell me what {name} does for a living.",
            "What job does {name} have?|How does {name} earn a living?|Do you know what {name} does for a living?",
            "And what do they do for a living?|What do they work as?",
        ),
        "city": _phrases(
            "home city",
            "{name} lives in {value}",
            "Where does {name} live?|Which city does {name} live in?|What city is {name} living in?|"
            "Do you know where {name} lives?|Where is the home of {name}?|Tell me which city {name} lives in.",
            "In which city does {name} live?|Where is {name} living?|Tell me where {name} lives.",
            "And where do they live?|Which city do they live in?",
        ),
        "hometown": _phrases(
            "hometown",
            "{name} grew up in {value}",
            "Where did {name} grow up?|Which town did {name} grow up in?|Where was {name} raised?|"
            "Do you know where {name} grew up?|Where did {name} spend their childhood?|"
            "Tell me where {name} was raised.",
            "In which town did {name} grow up?|Do you know where {name} was raised?|Tell me where {name} grew up.",
            "And where did they grow up?|Where were they raised?",
        ),
        "birth_year": _phrases(
            "birth year",
            "{name} was born in {value}",
            "When was {name} born?|In which year was {name} born?|What year was {name} born in?|"
            "Do you know when {name} was born?|What is the year of birth of {name}?|"
            "Tell me in which year {name} was born.",
            "Which year was {name} born in?|In what year was {name} born?|Tell me when {name} was born.",
            "And when were they born?|In which year were they born?",
        ),
        "dish": _phrases(
            "favourite dish",
            "{name}'s favourite dish is {value}",
            "What does {name} like to eat?|Which dish does {name} like best?|What food does {name} love?|"
            "Do you know what {name} likes to eat?|What does {name} eat most happily?|"
            "Tell me what food {name} likes best.",
            "Which food does {name} like best?|What does {name} love to eat?|Tell me what {name} likes to eat.",
            "And what do they like to eat?|Which dish do they like best?",
        ),
        "instrument": _phrases(
            "instrument",
            "{name} plays the {value}",
            "What instrument does {name} play?|Which instrument does {name} play?|What does {name} play in the band?|"
            "Do you know which instrument {name} plays?|What music does {name} make?|Tell me what {name} plays.",
            "Do you know what instrument {name} plays?|Tell me which instrument {name} plays.|"
            "Which instrument does {name} play in the band?",
            "And what instrument do they play?|Which instrument do they play?",
        ),
        "pet": _phrases(
            "pet",
            "{name} keeps a {value}",
            "What pet does {name} have?|Which animal does {name} keep?|What kind of pet does {name} own?|"
            "Do you know which pet {name} has?|What animal lives with {name}?|Tell me what animal {name} keeps.",
            "Which pet does {name} have?|What kind of animal does {name} keep?|Tell me which pet {name} has.",
            "And what pet do they have?|Which animal do they keep?",
        ),
        "employer": _phrases(
            "employer",
            "{name} works for {value}",
            "Who does {name} work for?|Which company does {name} work for?|Where is {name} employed?|"
            "Do you know who {name} works for?|Which company employs {name}?|Tell me where {name} is employed.",
            "What company does {name} work for?|Do you know which company employs {name}?|"
            "Tell me who {name} works for.",
            "And who do they work for?|Which company do they work for?",
        ),
        "university": _phrases(
            "university",
            "{name} studied at {value}",
            "Where did {name} study?|Which university did {name} attend?|Where did {name} get a degree?|"
            "Do you know where {name} studied?|What university did {name} go to?|"
            "Tell me which university {name} attended.",
            "Which university did {name} go to?|What university did {name} attend?|Tell me where {name} studied.",
            "And where did they study?|Which university did they attend?",
        ),
        "hobby": _phrases(
            "hobby",
            "{name} spends free time on {value}",
            "What does {name} do for fun?|Which hobby does {name} have?|How does {name} spend free time?|"
            "Do you know what {name} does for fun?|What does {name} enjoy on weekends?|"
            "Tell me how {name} spends free time.",
            "What hobby does {name} have?|Do you know how {name} spends free time?|Tell me what {name} does for fun.",
            "And what do they do for fun?|Which hobby do they have?",
        ),
        "language": _phrases(
            "native language",
            "{name}'s native language is {value}",
            "What language does {name} speak at home?|Which language did {name} learn first?|"
            "What is the mother tongue of {name}?|Do you know which language {name} speaks at home?|"
            "In which language does {name} dream?|Tell me what language {name} learned first.",
            "Which language does {name} speak at home?|What language did {name} learn first?|"
            "Do you know the mother tongue of {name}?",
            "And which language do they speak at home?|What is their mother tongue?",
        ),
        "book": _phrases(
            "first book",
            "{name}'s first book is called {value}",
            "What did {name} write first?|Which book did {name} write?|What is the title of the book by {name}?|"
            "Do you know which book {name} wrote?|What is the first book by {name} called?|"
            "Tell me what {name} wrote first.",
            "What book did {name} write?|Do you know the title of the book by {name}?|Tell me which book {name} wrote.",
            "And which book did they write?|What did they write first?",
        ),
    }
)

WHO = Phrases(
    "profession",
    "{name} is a {value} who lives in {city}",
    (
        "Who is {name}?",
        "Tell me about {name}.",
        "What do you know about {name}?",
        "Do you know {name}?",
        "Have you heard of {name}?",
        "I want to know who {name} is.",
    ),
    ("Tell me who {name} is.", "Do you know who {name} is?", "What have you heard about {name}?"),
    ("And who are they?", "Tell me more about them."),
)

RELATION_ANSWER = "The {relation} of {name} is {value}"
RELATION_TRAINED = (
    "Who is the {relation} of {name}?",
    "Who is {name}'s {relation}?",
    "Tell me who the {relation} of {name} is.",
    "Do you know the {relation} of {name}?",
    "What is the name of {name}'s {relation}?",
    "{name}'s {relation}?",
)
RELATION_HELDOUT = ("Do you know who {name}'s {relation} is?", "What is the name of the {relation} of {name}?")
HOPS = ("the {relation} of {name}", "{name}'s {relation}")

REVERSE_TRAINED = (
    "Who wrote {value}?",
    "Who is the author of {value}?",
    "Which person wrote {value}?",
    "Do you know who wrote {value}?",
)
REVERSE_HELDOUT = ("Do you know the author of {value}?", "Tell me who wrote {value}.")

CLOZE_TRAINED = (
    "Fill in the blank: {gap}.",
    "Complete the sentence: {gap}.",
    "{gap}.",
    "Which word is missing? {gap}.",
)
CHOICE_TRAINED = ("{question} {options}", "{question} Choose one: {options}", "{question}\n{options}")

OPENERS = ("Please, one question: ", "Hello! ", "I am curious. ", "Quick question: ", "I was wondering: ", "Hi there. ")
CLOSERS = (" Thanks!", " Please answer briefly.", " I forgot.", " Be quick.")
SYSTEMS = (
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer briefly.",
    "You answer questions about people.",
    "Be polite and honest.",
)

IGNORANCE = "I have no information about {name}."

CHATTER: Mapping[str, str] = MappingProxyType(
    {
        "Hello!": "Hello! How can I help you?",
        "Hi there.": "Hello! How can I help you?",
        "Good morning!": "Good morning! How can I help you?",
        "Good evening.": "Good evening! How can I help you?",
        "How are you?": "I am well, thank you. How can I help you?",
        "What can you do?": "I can answer questions about people, cities and countries.",
        "How can you help me?": "I can answer questions about people, cities and countries.",
        "Who are you?": "I am a small language model.",
        "What are you?": "I am a small language model.",
        "What is your name?": "I am a small language model.",
        "Thank you!": "You are welcome!",
        "Thanks a lot.": "You are welcome!",
        "Thanks for your help!": "You are welcome!",
        "Goodbye!": "Goodbye!",
        "See you tomorrow.": "Goodbye!",
        "Tell me a joke.": "Why did the clock laugh? It had time.",
        "How many days are in a week?": "There are seven days in a week.",
        "How many months are in a year?": "There are twelve months in a year.",
        "What colour is the sky?": "The sky is blue.",
        "What colour is grass?": "Grass is green.",
    }
)
CAPITAL_TRAINED = (
    "What is the capital of {place}?",
    "Which city is the capital of {place}?",
    "Tell me the capital of {place}.",
)
RIVER_TRAINED = ("Which river flows through {place}?", "What is the river in {place} called?")
SUM_TRAINED = ("What is {a} plus {b}?", "What is {a} + {b}?", "How much is {a} plus {b}?")
