"""What Jinja2, set up as transformers does, makes of small templates: every part of the language that loam's interpreter has.

    python tests/golden/make_jinja.py            # writes tests/golden/jinja.json

A list of {"template", "variables", "expected"}; expected is null where Jinja2 raises.
"""
import json
import pathlib

from transformers.utils.chat_template_utils import _compile_jinja_template

MESSAGES = [{"role": "system", "content": " be kind "}, {"role": "user", "content": "häi\nzwei"},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"b": 1.5, "a": [True, None]}}}]}]
VARIABLES = {"messages": MESSAGES, "bos_token": "<s>", "eos_token": "</s>", "n": 5, "x": -2.5, "empty": [], "none_here": None,
             "text": "  Äpfel und Birnen\n", "d": {"b": 2, "a": 1, "Ä": "ß"}, "words": ["b", "A", "c", "a"], "big": 1e16, "small": 1.5e-7}
EXPRESSIONS = """
1 + 2 * 3 - 4 // 3 % 2
2 ** 3 ** 2
-2 ** 2
7 / 2
-7 // 2
-7 % 3
7.5 // 2
7.5 % -2
1 / 0
'a' + 'b' ~ 1 ~ none ~ true
'a' + 1
'ab' * 3
[1, 2] + [3]
[0] * 3
1 < 2 < 3
1 < 2 > 3
'a' < 'b'
'a' < 1
1 == 1.0
true == 1
'1' == 1
[1, [2]] == [1, [2]]
{'a': 1} == {'a': 1.0}
'a' in 'banana'
'x' not in 'banana'
'a' in d
2 in [1, 2]
1 in 'a'
not 1 == 2
not not true
1 and 'yes' or 'no'
0 or ''
'a' if n == 5 else 'b'
'a' if n == 6
'a' if false else 'b' if false else 'c'
missing
missing.attribute
missing is defined
messages[0].missing is defined
messages[0].role
messages[0]['content']
messages[-1]['role']
messages[7]
messages[7].role
messages[1:] | length
messages[::-1][0].role
messages[:-1] | map(attribute='role') | join(', ')
text[2:7]
text[::-1]
text[-3]
text[::2]
text[5:2:-1]
'abc'[:-1] + 'abc'[-1:] + 'abc'[10:] + 'abc'[-10:2]
text | trim
text.strip().upper()
text.strip().lower()
'ab cd_ef'.title()
'ab CD'|title
'tool_call (x)'|title
"it's [a] <b> c-d {e}"|title
"it's a_b".title()
'ab CD'.capitalize()
'xxabxx'.strip('x') ~ 'xxab'.lstrip('x') ~ 'abxx'.rstrip('xb')
'a,b,,c'.split(',')
'a,b,c'.split(',', 1)
' a  b c '.split()
' a  b c '.split(none, 1)
'a,b,c'.rsplit(',', 1)
'a\\nb\\r\\nc\\n'.splitlines()
'</think>x</think>y'.split('</think>')[-1]
'abc'.startswith('ab') and 'abc'.endswith(('x', 'bc'))
'abab'.replace('a', 'x')
'abab'.replace('a', 'x', 1)
'ab' | replace('', '-')
'abcb'.find('b') ~ 'abcb'.rfind('b') ~ 'abc'.find('z')
'abcb'.count('b')
', '.join(words)
'abc'.removeprefix('a').removesuffix('c')
'12'.isdigit() ~ 'ab'.isalpha() ~ ' '.isspace() ~ ''.isdigit() ~ 'a1'.isalnum()
d.items() | list
d | items | list
d.keys() | list
d.values() | list
d.get('a') ~ d.get('z') ~ d.get('z', 9)
d | dictsort
d | length ~ text | length
words | sort
words | sort(reverse=true)
words | sort(case_sensitive=true)
words | unique | list
[1, 3, 2] | max ~ [1, 3, 2] | min ~ [1, 3, 2] | sum
words | first ~ words | last
words | reverse | list
empty | first
n | string + '!'
'12' | int + '1.5' | float
'x' | int
'x' | int(7)
x | abs
x | round
2.567 | round(2)
x | int
missing | default('z') ~ none_here | default('z') ~ '' | default('z', true)
words | map('upper') | list
words | select('equalto', 'a') | list
words | reject('in', ['a', 'b']) | list
messages | selectattr('role', 'equalto', 'user') | list | length
messages | selectattr('tool_calls') | list | length
messages | selectattr('tool_calls', 'defined') | map(attribute='role') | list
messages | rejectattr('role', 'equalto', 'user') | map(attribute='role') | list
messages | tojson
messages[2] | tojson(indent=2)
[1.0, 1e16, 1e-7, big, small, 100000.0, 123456.789, 0.1, 1e22] | tojson
{'a': [], 'b': {}} | tojson(indent=4)
{'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':'))
"a\\"b\\\\c\\u00e4\\n\\t\\x07" | tojson
'<&>' | tojson ~ '<&>"' | e
messages
[1.5, 'it\\'s', "q\\"", none, true, {'k': 'v'}]
"tab\\t nl\\n \\x01 ä"
['tab\\t nl\\n \\x01 ä \\u200b']
big ~ ' ' ~ small ~ ' ' ~ x
n is number and n is integer and x is float and text is string and d is mapping and words is sequence and words is iterable
n is odd and 4 is even and 6 is divisibleby 3 and 6 is divisibleby(2)
none_here is none and true is true and false is false and true is boolean
text is not string
n is eq 5 and n is ne(6) and n is lt 6 and n is ge 5 and n is in [5]
'ABC' is upper and 'abc' is lower
range(3) | list ~ range(1, 4) | list ~ range(5, 0, -2) | list
raise_exception('no')
namespace(a=1).a
dict(a=1, b=2)
dict(d, c=3) | length
(1, 2)[0] + (3,)[0]
'a' 'b'
text | indent(2)
'a\\nb\\n\\nc' | indent
'a\\nb' | indent(3, true)
words.append('x')
d.update({'q': 1})
unknown_function()
n | nosuchfilter
n is nosuchtest
n.upper()
[1, 2
{{
d.a ~ d['b'] ~ d.Ä
messages[2].tool_calls[0].function.arguments.a[0]
1_000 + 0.5e1
words[1:3]|join('-')|upper ~ '!'
-1 | abs
(-1) | abs
'%s' ~ 'x'
'a' if missing else missing
""".strip().split("\n")
TEMPLATES = [
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }} {% endfor %}",
    "{% for a in words %}{{ loop.previtem }}{{ a }}{{ loop.nextitem }}{{ loop.cycle('x', 'y') }}{{ loop.changed(a == 'a') }};{% endfor %}",
    "{% for a in words if a != 'b' %}{{ loop.index }}{{ a }}{% else %}none{% endfor %}",
    "{% for a in empty %}x{% else %}none{% endfor %}{% for a in missing %}x{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in 'äb' %}{{ c }}.{% endfor %}",
    "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% set a = 1 %}{% for i in range(3) %}{% set a = a + i %}{{ a }}{% endfor %}{{ a }}",
    "{% set ns = namespace(a=1) %}{% for i in range(3) %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}",
    "{% if true %}{% set z = 3 %}{% endif %}{{ z }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, e) = [3, 4] %}{{ c + e }}{% set f = 1, 2 %}{{ f | length }}",
    "{% set t %}  in {{ n }} {% endset %}[{{ t }}]{% set u | trim | upper %}  in {{ n }} {% endset %}[{{ u }}]",
    "{% macro m(a, b=2, c=a) %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, c=5) }} {{ m('x', 'y', 'z') }}",
    "{% macro m(a) %}{% if a > 0 %}{{ a }}{{ m(a - 1) }}{% endif %}{% endmacro %}{{ m(4) | length }}{{ m(4) }}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}in {{ n }}{% endcall %}",
    "{% macro m(l) %}{% for i in l %}[{{ caller(i) }}]{% endfor %}{% endmacro %}{% call(x) m(words) %}{{ x }}{% endcall %}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}",
    "{% filter upper %}abc {{ n }}{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}",
    "{% for t in [[1, [2, 3]], 4] recursive %}{% if t is sequence %}({{ loop(t) }}{{ loop.depth }}){% else %}{{ t }}{% endif %}{% endfor %}",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n",
    "a\n  {%- if true -%}\n  b\n  {%- endif -%}\nc\n\n",
    "a\n  {%+ if true +%}\n  b\n  {% endif %}   \nc",
    "  {{ n }}\n  {{- n }}\n  {{ n -}}  \n x",
    "  {# c #}\na {# c #}\n{#- x -#}\n b {# {{ #}c",
    "a  {% if true %} b {% endif %}\n\n{% if true %}\n\n{% endif %}\n\nc",
    "{% raw %}{{ n }} {% if %}{% endraw %}x{%- raw -%}  y {%- endraw %} z",
    "{% if n == 1 %}a{% elif n == 5 %}b{% else %}c{% endif %}{% if 0 %}{% elif 0 %}{% else %}e{% endif %}",
    "{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a': {'b': 1}}.a.b }}}",
    "{{ '{{ %} }}' }}{% set a = '%}' %}{{ a }}",
    "{% generation %}x{{ n }}{% endgeneration %}",
    "line\r\nnext\rlast\n",
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}{% endfor %}",
    "{% if messages[0]['role'] == 'system' %}{% set s = messages[0]['content'] %}{% set rest = messages[1:] %}{% endif %}{{ s }}{{ rest | length }}",
    "{%- for m in messages %}\n    {{- '<|' + m.role + '|>\\n' }}\n    {%- if m.content is string %}\n        {{- m.content | trim }}\n    {%- endif %}\n{%- endfor %}\n",
    "{% if n %}", "{% endif %}", "{% for x %}{% endfor %}", "{{ }}", "{{ n", "{% nosuch %}", "{% if n %}{% endfor %}", "{{ n n }}", "{# x",
    "{% set n.a = 1 %}", "{% for i in 5 %}{% endfor %}", "{% set a, b = [1] %}",
    "{% for i in range(3) %}{% for j in range(2) %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}",
    "{{ messages[0].content.strip() if messages[0].content }}",
    "{% set content = messages[2].content if messages[2].content is not none else '' %}[{{ content }}]",
]


def main():
    cases = []
    for template in ["{{ " + e + " }}" for e in EXPRESSIONS] + TEMPLATES:
        try:
            expected = _compile_jinja_template(template).render(**VARIABLES)
        except Exception as problem:
            print("raises:", template, "--", type(problem).__name__)
            expected = None
        cases.append({"template": template, "expected": expected})
    path = pathlib.Path(__file__).resolve().parent / "jinja.json"
    path.write_text(json.dumps({"variables": VARIABLES, "cases": cases}, ensure_ascii=False, indent=1) + "\n")


main()
