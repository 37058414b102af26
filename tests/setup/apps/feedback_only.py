"""An application that only receives votes."""

from __future__ import annotations

import json

from otel_llm_feedback import Target, record_feedback


def main() -> None:
    receipt = record_feedback(Target.session("s-1"), True, user_id="jane")
    print(json.dumps({"status": receipt.status, "reason": receipt.reason}))


if __name__ == "__main__":
    main()
