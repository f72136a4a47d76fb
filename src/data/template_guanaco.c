/* How the reference job wrote openassistant-guanaco's conversations down: Llama 2's marks as plain text, its default system
 * prompt in front of every conversation, and no end of turn at all. Facts from gpjt/fine-tune-2024-04
 * (final-tune/convert_dataset.py at a3b7e5d); the system prompt is the one of Meta's llama repository (Touvron et al., 2023).
 * docs/guanaco.md says what comes of it. */
#include "data/template.h"

#include <string.h>

static const char source[] =
    "{% if messages[0]['role'] == 'system' %}"
    "{% set system = messages[0]['content'] %}{% set turns = messages[1:] %}"
    "{% else %}{% set system = 'You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while "
    "being safe.  Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\\n\\nIf a question does not make any sense, or "
    "is not factually coherent, explain why instead of answering something not correct. If you don\\'t know the answer to a "
    "question, please don\\'t share false information.' %}{% set turns = messages %}{% endif %}"
    "{{ '\\n<s>[INST] <<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' }}"
    "{% for message in turns %}"
    "{% if message['role'] != 'user' %}{{ message['content'] }}{% if loop.last %}{{ '\\n' }}{% endif %}"
    "{% elif loop.first %}{{ message['content'] + ' [/INST]\\n' }}"
    "{% elif loop.last and not add_generation_prompt %}{{ '[INST]' + message['content'] + '\\n[/INST]\\n' }}"
    "{% else %}{{ '[INST]' + message['content'] + '[/INST]\\n' }}{% endif %}{% endfor %}";

int lm_template_guanaco(const struct lm_template **chosen, loam_error *error)
{
    return lm_template_parse(source, strlen(source), "guanaco", chosen, error);
}
