"""The scenario that shows the ledger at work, against the public HTTP API alone.

Grant credits → a video that succeeds and lies on disk → one that fails and is paid back →
the event log folded again gives the same balances. Each run uses an account of its own.

Reads the environment that the launcher wrote (`RUN_DIR/env`): LEDGER_URL, LEDGER_API_KEY,
STORAGE_URL, and DATABASE_URL for the replay. Exit status 0 when all of it held, else 1.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

FINAL = {"succeeded", "failed", "cancelled", "expired"}
EMULATOR_SECONDS, PROVIDER_SECONDS = 120.0, 1_200.0
POLL_SECONDS = 0.1

Json = dict[str, Any]


class DemoFailed(Exception):
    """Something did not hold; the text says what."""


class Demo:
    """One run of the scenario; `is_emulated`: the provider does what the prompt asks it to."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.is_emulated = environ.get("FAL_IS_EMULATED", "1") == "1"
        self.account_id = f"demo-{secrets.token_hex(6)}"
        self.api = httpx.Client(
            base_url=environ["LEDGER_URL"],
            headers={"Authorization": f"Bearer {environ['LEDGER_API_KEY']}"},
            timeout=10.0,
        )

    def run(self) -> None:
        """Tell the story; raises DemoFailed where it does not come true."""
        model = self._choose_model()
        say(f"1. A grant for the new account {self.account_id}")
        amount = 3 * model["price"]
        account = self._grant(amount)
        self._expect_balance(account, amount)

        say(f"2. A video from {model['model']}, for {model['price']} credits")
        generation = self._generate(model, "A paper boat sails down a rainy street")
        expect(generation["status"] == "succeeded", f"it {generation['status']}: {generation}")
        show(f"stored and verified: {self._stored_video(generation['result'])}")
        self._expect_balance(self._account(), amount - model["price"])

        if self.is_emulated:
            say("3. A video that the provider fails to make")
            generation = self._generate(model, "A boat that never comes [[fal:fail]]")
            self._expect_refund(generation, model["price"])
            self._expect_balance(self._account(), amount - model["price"])
        else:
            say("3. A failing video is shown with the emulator only")

        say("4. The event log, folded again from its beginning")
        self._replay()
        say("All of it held.")

    # --- scenes -------------------------------------------------------------------------------

    def _choose_model(self) -> Json:
        """Return the first video model: the list begins with what is cheap and simple."""
        models = self._call("GET", "/v1/models")["items"]
        for model in models:
            needed = model["input_schema"].get("required", [])
            if model["available"] and model["output"] == "video" and needed == ["prompt"]:
                return dict(model)
        raise DemoFailed("no available model makes a video from a prompt alone")

    def _grant(self, amount: int) -> Json:
        body = {"amount": amount, "source": "promo", "reference": "demo"}
        reply = self._call("POST", f"/v1/accounts/{self.account_id}/grants", body)
        show(f"+{amount} credits, at position {reply['position']} of the log")
        return dict(reply["account"])

    def _generate(self, model: Json, prompt: str) -> Json:
        """Ask for one video and follow it to its end."""
        body = {
            "account_id": self.account_id,
            "model": model["model"],
            "input": {"prompt": prompt},
        }
        reply = self._call("POST", "/v1/generations", body)
        generation = dict(reply["generation"])
        show(f"“{prompt}”")
        show(f"-{generation['charged']} credits at once, {generation['generation_id']}")
        seconds = EMULATOR_SECONDS if self.is_emulated else PROVIDER_SECONDS
        started, seen = time.monotonic(), ""
        while True:
            if generation["status"] != seen:
                seen = generation["status"]
                show(f"{time.monotonic() - started:6.1f} s  {seen}")
            if seen in FINAL:
                return generation
            expect(time.monotonic() - started < seconds, f"still {seen} after {seconds:.0f} s")
            time.sleep(POLL_SECONDS)
            generation = self._call("GET", f"/v1/generations/{generation['generation_id']}")

    def _expect_refund(self, generation: Json, price: int) -> None:
        expect(generation["status"] == "failed", f"it {generation['status']}, and should fail")
        expect(generation["refunded"] == price, f"refunded {generation['refunded']}, not {price}")
        expect(generation["refund_id"] is not None, "the refund has no id")
        show(f"why: {generation['failure']['reason']}")
        show(f"+{price} credits, paid back by itself: {generation['refund_id']}")

    def _stored_video(self, result: Json) -> str:
        """Return where the media lies; in a local folder its bytes are checked."""
        storage = urlsplit(self.environ["STORAGE_URL"])
        if storage.scheme != "file":
            return str(result["url"])
        for path in Path(unquote(storage.path)).rglob("*"):
            if path.is_file() and path.stat().st_size == result["size_bytes"]:
                content = path.read_bytes()
                if hashlib.sha256(content).hexdigest() == result["sha256"]:
                    expect(content[4:8] == b"ftyp", f"{path} is no MP4")
                    return f"{path}  ({len(content):,} bytes)"
        raise DemoFailed(f"no file in {storage.path} has the digest {result['sha256']}")

    def _replay(self) -> None:
        """Fold the log with the ledger's own command, which compares every balance."""
        command = [sys.executable, "-m", "ledger_service", "replay"]
        done = subprocess.run(
            command, env=dict(self.environ), capture_output=True, text=True, check=False
        )
        for line in (done.stdout + done.stderr).strip().splitlines():
            show(line)
        expect(done.returncode == 0, f"replay ended with {done.returncode}")

    # --- small helpers ------------------------------------------------------------------------

    def _account(self) -> Json:
        return self._call("GET", f"/v1/accounts/{self.account_id}")

    def _expect_balance(self, account: Json, expected: int) -> None:
        balance = account["balance"]
        show(f"balance {balance['posted']}, of which {balance['available']} can be spent")
        expect(balance["posted"] == expected, f"the balance should be {expected}")
        expect(balance["available"] == expected, f"{expected} should be available")

    def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        """Call the API; writes carry a fresh idempotency key."""
        headers = {"Idempotency-Key": secrets.token_hex(16)} if body is not None else {}
        answer = self.api.request(method, path, json=body, headers=headers)
        expect(answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}")
        return dict(answer.json())


def say(text: str) -> None:
    """Begin a scene."""
    print(f"\n  {text}", flush=True)


def show(text: str) -> None:
    """Tell what happened in it."""
    print(f"       {text}", flush=True)


def expect(condition: bool, otherwise: str) -> None:
    """Go on only if `condition` holds."""
    if not condition:
        raise DemoFailed(otherwise)


def main() -> int:
    """Run the scenario once."""
    try:
        Demo(os.environ).run()
    except (DemoFailed, httpx.HTTPError, KeyError) as reason:
        print(f"\n  The demo failed: {reason!r}\n", file=sys.stderr, flush=True)
        return 1
    print(flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
