"""Another process, later: records feedback on ids that came back from users. Reads them as JSON from standard input.

usage: vote.py ENDPOINT PROTOCOL
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone

from otel_llm_feedback import Target, configure, record_feedback


def main(endpoint: str, protocol: str) -> None:
    pipeline = configure(service_name="votes", endpoint=endpoint, protocol=protocol, pseudonym_key="not a secret")
    for name, ids in json.load(sys.stdin).items():
        receipt = record_feedback(
            Target.span(ids["trace_id"], ids["span_id"]),
            name == "chat",
            comment=f"about {name} \N{THUMBS UP SIGN}",
            metadata={"step": name, "attempt": 1, "ratio": 0.5, "retry": False, "where": {"page": [1, 2]}},
            at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
            user_id="jane@example.com",
        )
        receipt.raise_for_loss()
    assert pipeline.shutdown(timeout_seconds=20)


if __name__ == "__main__":
    main(*sys.argv[1:])
