"""An application whose environment is wrong; prints what became of its vote.

usage: wrong_settings.py OPENAI_BASE_URL
"""

from __future__ import annotations

import json
import sys

import openai

from otel_llm_feedback import Target, record_feedback


def main(base_url: str) -> None:
    client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
    client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
    print(json.dumps({"status": record_feedback(Target.session("s"), True).status}))


if __name__ == "__main__":
    main(*sys.argv[1:])
