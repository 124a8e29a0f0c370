//! Templates for tests, ours, in the style of well-known ones; and what Python's jinja2 makes of them, in the environment
//! of `transformers`.

/// ChatML, as Qwen and SmolLM2 have it.
pub(super) const CHATML: &str = r"{% for message in messages %}
{% if loop.first and messages[0]['role'] != 'system' %}
{{ '<|im_start|>system\nYou answer in short sentences.<|im_end|>\n' }}
{%- endif %}
{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
";

/// Headers and trimmed contents, as Llama 3 has them; the date only where there is a clock.
pub(super) const HEADERS: &str = r#"{{- bos_token }}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}
    {{- content }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"#;

/// No system, turns in order, another name for the assistant: as Gemma has it.
pub(super) const STRICT: &str = r"{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '
' + message['content'] | trim + '<end_of_turn>
' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model
'}}{% endif %}";

/// Instructions in brackets, with a namespace and the last user's turn found first: as Mistral has it.
pub(super) const BRACKETS: &str = r#"{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set ns = namespace(index=0, last=-1) %}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}{%- set ns.last = loop.index0 %}{%- endif %}
    {%- if not (message.get("tool_calls") or message.tool_calls is defined) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.index0 == ns.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
"#;

/// What newer ones use: macros, Python's methods, loop controls, `tojson`, marked answers, neighbours in a loop.
pub(super) const MODERN: &str = r#"{%- macro turn(role, text='') -%}
<|{{ role }}|>{{ caller() if caller is defined else text }}<|end|>
{% endmacro %}
{%- for message in messages %}
    {%- if message.role == 'system' %}{% continue %}{% endif %}
    {%- if loop.index > 3 %}{% break %}{% endif %}
    {%- set content = message.content %}
    {%- if message.role == "assistant" %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- generation %}{{ turn(message.role, content.rstrip()) }}{%- endgeneration %}
    {%- else %}
        {{- turn(message.role | upper, content | tojson) }}
    {%- endif %}
    {%- if loop.nextitem is defined and loop.nextitem.role == message.role %}(again){% endif %}
{%- endfor %}
{{- {'roles': messages | map(attribute='role') | list, 'n': messages | length, "odd": '<é>'} | tojson(indent=2) }}
{{ '%s turns, %d of users' | format(messages|length, messages | selectattr('role', 'equalto', 'user') | list | length) }}
{% for key, value in {'a': 1, 'b': none}.items() %}{{ key ~ '=' ~ value }} {% endfor %}
{{ messages[::-1][0].content[:5].title() }} {{ messages[-1].role.startswith('us') }}
"#;
