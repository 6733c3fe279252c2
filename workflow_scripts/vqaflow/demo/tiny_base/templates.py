"""Chat templates of the tiny bases; they behave as the published ones, whose turns <|im_end|> and a newline close."""

# Qwen2.5-VL's template adds this turn if there is no system turn; Qwen3-VL's does not.
DEFAULT_SYSTEM = """\
{%- if loop.first and message['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
"""
START = """\
{%- set pictures = namespace(count=0) -%}
{%- set videos = namespace(count=0) -%}
{%- for message in messages -%}
"""
TURNS = """\
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' or 'image' in part or 'image_url' in part -%}
{%- set pictures.count = pictures.count + 1 -%}
{%- if add_vision_id -%}{{- 'Picture ' ~ pictures.count ~ ': ' -}}{%- endif -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif part['type'] == 'video' or 'video' in part -%}
{%- set videos.count = videos.count + 1 -%}
{%- if add_vision_id -%}{{- 'Video ' ~ videos.count ~ ': ' -}}{%- endif -%}
{{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
{%- elif 'text' in part -%}
{{- part['text'] -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


def chat_template(default_system: str) -> str:
    """The ChatML template with vision marks; `default_system` is the template of the turn that it adds, or empty."""
    return START + default_system + TURNS
