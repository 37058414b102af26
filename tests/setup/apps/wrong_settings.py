"""An application whose environment is wrong; prints what its own vote raised.

usage: wrong_settings.py OPENAI_BASE_URL
"""

from __future__ import annotations

import json
import sys

import openai

from otel_llm_feedback import FeedbackError, Target, record_feedback


def main(base_url: str) -> None:
    client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
    client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
    try:
        record_feedback(Target.session("s"), True)
    except FeedbackError as error:
        print(json.dumps({"error": type(error).__name__}))


if __name__ == "__main__":
    main(*sys.argv[1:])
