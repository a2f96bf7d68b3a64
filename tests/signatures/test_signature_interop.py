"""Independent implementations and published examples agree with ours, in both directions."""

import time
from datetime import UTC, datetime

import pytest
import standardwebhooks
import svix.webhooks
from signature_sources import BODY, NOW, WHSEC, WHSK, raw, signed

from receiver.errors import SignatureError, UsageError
from receiver.signatures import SchemeSpec, Verified, build_scheme

SIGNERS = pytest.mark.parametrize(
    "signer",
    [standardwebhooks.Webhook(WHSEC[0]), svix.webhooks.Webhook(WHSEC[0])],
    ids=["standardwebhooks", "svix"],
)


def standard(*secrets: str):
    return build_scheme(SchemeSpec(scheme="standard"), secrets)


@SIGNERS
@pytest.mark.parametrize("family", ["webhook", "svix"])
def test_what_they_sign_we_verify(signer, family: str) -> None:
    signature = signer.sign("msg_1", datetime.fromtimestamp(NOW, UTC), BODY.decode())
    headers = raw(
        [
            (f"{family}-id", "msg_1"),
            (f"{family}-timestamp", str(NOW)),
            (f"{family}-signature", signature),
        ]
    )
    proof = standard(WHSEC[1], WHSEC[0]).verify(headers, BODY, NOW)
    assert proof == Verified(secret_index=1, message_id="msg_1", signed_at=NOW)


@SIGNERS
def test_what_we_sign_they_verify(signer) -> None:
    headers = dict(standard(WHSEC[0]).sign(BODY, message_id="msg_1", now=time.time()))
    signer.verify(BODY.decode(), headers)


@SIGNERS
def test_what_we_sign_with_another_secret_they_refuse(signer) -> None:
    headers = dict(standard(WHSEC[1]).sign(BODY, message_id="msg_1", now=time.time()))
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        signer.verify(BODY.decode(), headers)


def test_the_examples_of_standard_webhooks_are_reproduced() -> None:
    """From Svix's own tests, which the specification's example headers come from too."""
    body, message_id, now = b'{"test": 2432232314}', "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    shared = standard("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert dict(shared.sign(body, message_id=message_id, now=now)) == {
        "webhook-id": message_id,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    pair = standard(
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
    )
    headers = pair.sign(body, message_id=message_id, now=now)
    assert dict(headers)["webhook-signature"] == (
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5B"
        "dqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
    )
    public = standard("whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=")
    assert public.verify(raw(headers), body, now).message_id == message_id


def test_the_example_of_github_is_reproduced() -> None:
    """https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries"""
    scheme = build_scheme(SchemeSpec(scheme="github"), ["It's a Secret to Everybody"])
    assert scheme.sign(b"Hello, World!", message_id="guid", now=NOW)[0] == (
        "X-Hub-Signature-256",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    )


def test_what_stripe_python_signs_is_reproduced() -> None:
    """Stripe prints no example with its secret; this is what stripe-python 16.1.0 makes."""
    body = b'{"id":"evt_test_webhook","object":"event","type":"charge.succeeded"}'
    scheme = build_scheme(SchemeSpec(scheme="stripe"), ["whsec_test_secret_not_real"])
    signature = "1b03e698145932ab9c6a67b74122cb93d81a8044145b4fc480d67ea360f4caea"
    assert scheme.sign(body, message_id="unused", now=NOW) == [
        ("Stripe-Signature", f"t={NOW},v1={signature}")
    ]


def test_a_public_key_verifies_and_does_not_sign() -> None:
    whpk = "whpk_TLWr9q2HoEbR/jZvNbZR9q9fEwHZ8Y1tH3XB2vWZ3Dk="
    with pytest.raises(UsageError, match="give the whsk_ key"):
        standard(whpk).sign(BODY, message_id="msg_1", now=NOW)
    with pytest.raises(SignatureError, match="mismatch"):
        standard(whpk).verify(signed(standard(WHSK[0])), BODY, NOW)
