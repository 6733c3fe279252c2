"""Faults of chat templates: what would break if a letter were sought in the user's turn, or each day had a prompt."""

import pytest

from vqaflow.model.encoding.chat_template import around_user_text
from vqaflow.model.processor_files import _environment
from vqaflow.runtime.errors import UserError

TURN = (
    "{% for m in messages %}<|{{ m.role }}|>"
    "{% for c in m.content %}{{ c.text or '<image>' }}{% endfor %}</s>{% endfor %}"
)
OPENING = "{% if add_generation_prompt %}<|assistant|>{% endif %}"


class Processor:
    """A processor with a template."""

    image_token = "<image>"

    def __init__(self, template):
        self.chat_template = template

    def apply_chat_template(self, messages, chat_template, tokenize, **arguments):
        return _environment().from_string(chat_template).render(messages=messages, **arguments)


def around(template, system="Be brief."):
    return around_user_text(Processor(template), system, {}, 1)


def test_a_template_that_ignores_the_opening_of_the_answer_is_refused():
    """The model would be scored on what a user writes next."""
    assert around(TURN + OPENING)[1] == "</s><|assistant|>"
    with pytest.raises(UserError, match="does not open the answer .it ignores add_generation_prompt."):
        around(TURN)


def test_a_template_whose_answers_have_no_opening_passes():
    """As Mistral's: the answer stands behind the end of the user's turn."""
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}[INST]{% for c in m.content %}{{ c.text or '<image>' }}"
        "{% endfor %}[/INST]{% elif m.role == 'system' %}{{ m.content[0].text }}{% else %} {{ m.content[0].text }}"
        "{% endif %}{% endfor %}"
    )
    assert around(template)[1] == "[/INST]"


def test_a_template_with_todays_date_is_refused():
    """A run that goes on after midnight would score with another prompt than it has trained with."""
    with pytest.raises(UserError, match="writes today's date, so that each day has another prompt"):
        around("{{ strftime_now('%d %B %Y') }}" + TURN + OPENING)


def test_a_template_that_could_write_a_date_and_does_not_passes():
    around("{% if date %}{{ strftime_now('%d') }}{% endif %}" + TURN + OPENING)
