"""What each service takes and answers: its form, its limits, its refusals in its own words.

A form looks at a request as the real service does (rules from the services' own documentation,
named at each), refuses what the service would refuse, and says what people would be shown, for the
interpreters of markup.py.
"""

import json
import re
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from markup import Markup
from service_server import Asked, Judge, Reply, reply_json, reply_text

from receiver.model import Outcome

TOKEN = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Shown:
    """A text that people are shown, and the markup in which the service reads it."""

    text: str
    markup: Markup
    part: str = "body"
    """`title` or `body`."""


@dataclass(frozen=True)
class Refusal:
    """An answer of the service that is no yes, and what it has to become here."""

    reply: Reply
    outcome: Outcome
    words: str
    """A part of the answer that whoever reads the attempt needs."""
    retry_after: float | None = None
    status: int | None = None
    """Where it is not the reply's own."""


class Broken(Exception):
    """The request is not in the service's form; the text is what the service says."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.body)
        self.reply = reply


def need(condition: object, reply: Reply) -> None:
    if not condition:
        raise Broken(reply)


class Form:
    """One service."""

    name: ClassVar[str]
    url: ClassVar[str]
    """With `{address}` where the service takes a host."""
    accepted: ClassVar[Reply]
    refusals: ClassVar[Mapping[str, Refusal]] = {}
    takes_pictures: ClassVar[bool] = False

    def is_for(self, asked: Asked) -> bool:
        raise NotImplementedError

    def check(self, asked: Asked) -> None:
        """Raises Broken if the service would not take it."""

    def shown(self, asked: Asked) -> list[Shown]:
        """What people would see of it."""
        raise NotImplementedError

    def is_message(self, asked: Asked) -> bool:
        """Not a log-in or a look-up."""
        return True

    def answer(self, asked: Asked) -> Reply:
        """To a request in order."""
        return self.accepted


def json_of(asked: Asked, reply: Reply) -> dict[str, Any]:
    need("application/json" in asked.headers.get("content-type", ""), reply)
    try:
        value = asked.json
    except ValueError:
        raise Broken(reply) from None
    need(isinstance(value, dict), reply)
    return value  # type: ignore[no-any-return]


def _too_many(words: str, seconds: str, outcome: Outcome = Outcome.TRANSIENT) -> Refusal:
    return Refusal(reply_text(429, words, Retry_After=seconds), outcome, words, float(seconds))


# --- Slack: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks -------------


class Slack(Form):
    """Attachments of at most 40,000 characters, blocks: section 3,000, header 150."""

    name = "slack"
    url = f"slack://TAAAAAAAA/BBBBBBBBB/{'c' * 24}"
    accepted = reply_text(200, "ok")
    refusals: ClassVar = {
        "malformed": Refusal(
            reply_text(400, "invalid_payload"), Outcome.PERMANENT, "invalid_payload"
        ),
        "switched off": Refusal(reply_text(404, "no_service"), Outcome.PERMANENT, "no_service"),
        "forbidden": Refusal(
            reply_text(403, "action_prohibited"), Outcome.PERMANENT, "action_prohibited"
        ),
        "archived": Refusal(
            reply_text(410, "channel_is_archived"), Outcome.PERMANENT, "channel_is_archived"
        ),
        "too fast": _too_many("rate_limited", "30"),
        "down": Refusal(reply_text(500, "rollup_error"), Outcome.TRANSIENT, "rollup_error"),
    }

    def is_for(self, asked: Asked) -> bool:
        return asked.host == "hooks.slack.com"

    def check(self, asked: Asked) -> None:
        refused = reply_text(400, "invalid_payload")
        need(re.fullmatch(r"/services/T\w+/B\w+/\w{24}", asked.path), reply_text(404, "no_service"))
        check_slack(json_of(asked, refused), refused)

    def shown(self, asked: Asked) -> list[Shown]:
        return slack_texts(asked.json)


def check_slack(payload: dict[str, Any], refused: Reply) -> None:
    attachments = payload.get("attachments", [])
    need(payload.get("text") or payload.get("blocks") or attachments, refused)
    for attachment in attachments:
        need(len(attachment.get("text", "")) <= 40_000, refused)
        for block in attachment.get("blocks", []):
            limit = {"header": 150, "section": 3000}.get(block["type"], 2000)
            if text := block.get("text"):
                need(text["type"] in ("plain_text", "mrkdwn"), refused)
                need(0 < len(text["text"]) <= limit, reply_text(400, "invalid_blocks"))


def slack_texts(payload: dict[str, Any]) -> list[Shown]:
    texts: list[Shown] = []
    for attachment in payload["attachments"]:
        # https://docs.slack.dev/reference/messaging/payload#mrkdwn_in: both may be read as mrkdwn.
        texts += [
            Shown(attachment[key], Markup.SLACK, part)
            for key, part in (("title", "title"), ("text", "body"))
            if key in attachment
        ]
        for block in attachment.get("blocks", []):
            part = "title" if block["type"] == "header" else "body"
            if "text" in block:
                texts.append(Shown(block["text"]["text"], Markup.SLACK, part))
    return texts


class SlackBlocks(Slack):
    """The same with `?blocks=yes`: other limits."""

    name = "slack-blocks"
    url = f"{Slack.url}?blocks=yes"
    refusals: ClassVar = {}


class SlackBot(Form):
    """`chat.postMessage`: says no with a 200. https://docs.slack.dev/reference/methods/chat.postMessage"""

    name = "slack-bot"
    url = "slack://xoxb-1234-1234-4ddbc191d40ee098cbaae6f3523ada2d/#general"
    accepted = reply_json(200, {"ok": True, "channel": "C123", "ts": "1.2", "message": {}})
    refusals: ClassVar = {
        "wrong token": Refusal(
            reply_json(200, {"ok": False, "error": "invalid_auth"}),
            Outcome.PERMANENT,
            "invalid_auth",
        ),
        "no channel": Refusal(
            reply_json(200, {"ok": False, "error": "channel_not_found"}),
            Outcome.PERMANENT,
            "channel_not_found",
        ),
        "too fast": Refusal(
            reply_json(429, {"ok": False, "error": "ratelimited"}, Retry_After="30"),
            Outcome.TRANSIENT,
            "ratelimited",
            30,
        ),
        "their fault": Refusal(
            reply_json(200, {"ok": False, "error": "internal_error"}),
            Outcome.TRANSIENT,
            "internal_error",
        ),
    }

    def is_for(self, asked: Asked) -> bool:
        return asked.host == "slack.com"

    def check(self, asked: Asked) -> None:
        need(
            asked.headers.get("authorization", "").startswith("Bearer xoxb-"),
            reply_json(200, {"ok": False, "error": "not_authed"}),
        )
        refused = reply_json(200, {"ok": False, "error": "invalid_arguments"})
        payload = json_of(asked, refused)
        need(payload.get("channel") == "#general", refused)
        check_slack(payload, refused)

    def shown(self, asked: Asked) -> list[Shown]:
        return slack_texts(asked.json)


# --- Discord: https://docs.discord.com/developers/resources/webhook -------------------------------


class Discord(Form):
    """Content of at most 2,000 characters; embeds: title 256, description 4,096, 6,000 in all."""

    name = "discord"
    url = "discord://123456789012345678/abcdefghijklmnop"
    accepted = Reply(204)
    takes_pictures = True
    refusals: ClassVar = {
        "malformed": Refusal(
            reply_json(400, {"message": "Cannot send an empty message", "code": 50006}),
            Outcome.PERMANENT,
            "Cannot send an empty message",
        ),
        "wrong token": Refusal(
            reply_json(401, {"message": "Invalid Webhook Token", "code": 50027}),
            Outcome.PERMANENT,
            "Invalid Webhook Token",
        ),
        "deleted": Refusal(
            reply_json(404, {"message": "Unknown Webhook", "code": 10015}),
            Outcome.PERMANENT,
            "Unknown Webhook",
        ),
        "too fast": Refusal(
            reply_json(
                429,
                {"message": "You are being rate limited.", "retry_after": 64.57, "global": False},
                Retry_After="65",
                X_RateLimit_Remaining="0",
                X_RateLimit_Reset="4070908800",
                X_RateLimit_Reset_After="64.57",
            ),
            Outcome.TRANSIENT,
            "You are being rate limited",
            65,
        ),
        "too fast, said in the body": Refusal(
            reply_json(429, {"message": "You are being rate limited.", "retry_after": 1.5}),
            Outcome.TRANSIENT,
            "You are being rate limited",
            1.5,
        ),
        "down": Refusal(reply_text(502, "Bad gateway"), Outcome.TRANSIENT, "Bad gateway"),
    }

    def is_for(self, asked: Asked) -> bool:
        return asked.host == "discord.com"

    def check(self, asked: Asked) -> None:
        unknown = reply_json(404, {"message": "Unknown Webhook", "code": 10015})
        need(asked.path.startswith("/api/webhooks/123456789012345678/abcdefghijklmnop"), unknown)
        if not self.is_message(asked):
            return
        empty = reply_json(400, {"message": "Cannot send an empty message", "code": 50006})
        payload = json_of(asked, empty)
        need(payload.get("content") or payload.get("embeds"), empty)
        long = reply_json(400, {"code": 50035, "message": "Invalid Form Body"})
        need(_units(payload.get("content", "")) <= 2000, long)
        total = 0
        for embed in payload.get("embeds", []):
            title, description = embed.get("title", ""), embed.get("description", "")
            need(_units(title) <= 256 and _units(description) <= 4096, long)
            total += _units(title) + _units(description)
        need(total <= 6000, long)

    def is_message(self, asked: Asked) -> bool:
        return "multipart/form-data" not in asked.headers.get("content-type", "")

    def shown(self, asked: Asked) -> list[Shown]:
        payload = asked.json
        texts = [Shown(payload.get("content", ""), Markup.DISCORD)]
        for embed in payload.get("embeds", []):
            texts += [Shown(embed.get(key, ""), Markup.DISCORD) for key in ("title", "description")]
        return texts


def _units(text: str) -> int:
    """The length as a JavaScript server counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


# --- Teams: https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors -----------


class Teams(Form):
    """A Workflows trigger: one Adaptive Card, 28 KB in all, entities for mentions."""

    name = "teams"
    url = (
        "https://prod-1.westeurope.logic.azure.com:443/workflows/0123456789abcdef/triggers/manual"
        "/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=abcdefgh"
    )
    accepted = Reply(202)
    refusals: ClassVar = {
        "malformed": Refusal(
            reply_json(400, {"error": {"code": "TriggerInputSchemaMismatch", "message": "no"}}),
            Outcome.PERMANENT,
            "TriggerInputSchemaMismatch",
        ),
        "wrong signature": Refusal(
            reply_json(401, {"error": {"code": "DirectApiAuthorizationRequired"}}),
            Outcome.PERMANENT,
            "DirectApiAuthorizationRequired",
        ),
        "deleted": Refusal(
            reply_json(404, {"error": {"code": "WorkflowNotFound"}}),
            Outcome.PERMANENT,
            "WorkflowNotFound",
        ),
        "too large": Refusal(
            reply_json(413, {"error": {"code": "RequestEntityTooLarge"}}),
            Outcome.PERMANENT,
            "RequestEntityTooLarge",
        ),
        "too fast": Refusal(
            reply_json(429, {"error": {"code": "WorkflowTriggerThrottled"}}, Retry_After="120"),
            Outcome.TRANSIENT,
            "WorkflowTriggerThrottled",
            120,
        ),
        "down": Refusal(
            reply_json(502, {"error": {"code": "NoResponse"}}), Outcome.TRANSIENT, "NoResponse"
        ),
    }

    def is_for(self, asked: Asked) -> bool:
        return "logic.azure.com" in asked.host

    def check(self, asked: Asked) -> None:
        refused = reply_json(400, {"error": {"code": "TriggerInputSchemaMismatch"}})
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(asked.path).query)
        need(
            query.get("sig") == ["abcdefgh"] and query.get("sp"),
            reply_json(401, {"error": {"code": "DirectApiAuthorizationRequired"}}),
        )
        payload = json_of(asked, refused)
        too_large = reply_json(413, {"error": {"code": "RequestEntityTooLarge"}})
        need(len(asked.body) <= 28 * 1024, too_large)
        need(payload.get("type") == "message", refused)
        (attachment,) = payload["attachments"]
        need(attachment["contentType"] == "application/vnd.microsoft.card.adaptive", refused)
        card = attachment["content"]
        need(card["type"] == "AdaptiveCard" and card["body"], refused)
        for block in card["body"]:
            need(block["type"] in ("TextBlock", "Image"), refused)
            need(block["type"] == "Image" or isinstance(block["text"], str), refused)

    def shown(self, asked: Asked) -> list[Shown]:
        card = asked.json["attachments"][0]["content"]
        texts = [
            Shown(block["text"], Markup.TEAMS, block.get("id", "body"))
            for block in card["body"]
            if block["type"] == "TextBlock"
        ]
        entities = card.get("msteams", {}).get("entities", [])
        return [*texts, *(Shown(f"<at>{each['text']}</at>", Markup.TEAMS) for each in entities)]


# --- Telegram: https://core.telegram.org/bots/api#formatting-options ------------------------------


class Telegram(Form):
    """4,096 characters; text whose entities can't be parsed is refused."""

    name = "telegram"
    url = "tgram://123456789:abcdefg_hijklmnop/12315544"
    accepted = reply_json(200, {"ok": True, "result": {"message_id": 1}})
    takes_pictures = True
    refusals: ClassVar = {
        "wrong token": Refusal(
            reply_json(401, {"ok": False, "error_code": 401, "description": "Unauthorized"}),
            Outcome.PERMANENT,
            "Unauthorized",
        ),
        "no chat": Refusal(
            reply_json(400, {"ok": False, "description": "Bad Request: chat not found"}),
            Outcome.PERMANENT,
            "chat not found",
        ),
        "too fast": Refusal(
            reply_json(
                429,
                {
                    "ok": False,
                    "error_code": 429,
                    "description": "Too Many Requests: retry after 17",
                    "parameters": {"retry_after": 17},
                },
            ),
            Outcome.TRANSIENT,
            "Too Many Requests",
            17,
        ),
    }

    def is_for(self, asked: Asked) -> bool:
        return asked.host == "api.telegram.org"

    def check(self, asked: Asked) -> None:
        if not self.is_message(asked):
            return

        def refused(description: str) -> Reply:
            return reply_json(400, {"ok": False, "description": f"Bad Request: {description}"})

        payload = json_of(asked, refused("not JSON"))
        text = payload["text"]
        need(text.strip(), refused("message text is empty"))
        if payload.get("parse_mode") == "HTML":
            try:
                parsed = ET.fromstring(f"<x>{text.replace('&nbsp;', ' ')}</x>")
            except ET.ParseError:
                raise Broken(refused("can't parse entities")) from None
            allowed = {"b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "a", "code",
                       "pre", "blockquote", "tg-spoiler", "span", "x"}  # fmt: skip
            need({each.tag for each in parsed.iter()} <= allowed, refused("unsupported start tag"))
            plain = "".join(parsed.itertext())
        else:
            need(_legacy_markdown_is_closed(text), refused("can't parse entities"))
            plain = text
        need(len(plain) <= 4096, refused("message is too long"))

    def is_message(self, asked: Asked) -> bool:
        return asked.path.endswith("/sendMessage")

    def shown(self, asked: Asked) -> list[Shown]:
        payload = asked.json
        is_html = payload.get("parse_mode") == "HTML"
        return [Shown(payload["text"], Markup.TELEGRAM_HTML if is_html else Markup.TELEGRAM)]


def _legacy_markdown_is_closed(text: str) -> bool:
    """Whether each `*`, `_`, code and link that opens also closes: else Telegram says 400."""
    at = 0
    while at < len(text):
        mark = text[at]
        if mark == "\\" and text[at + 1 : at + 2] in ("_", "*", "`", "["):
            at += 2
        elif mark in "*_`":
            run = "```" if text.startswith("```", at) else mark
            end = text.find(run, at + len(run))
            if end < 0:
                return False
            at = end + len(run)
        else:
            at += 1
    return True


# --- services that one runs oneself ---------------------------------------------------------------


class Ntfy(Form):
    """https://docs.ntfy.sh/publish/#publish-as-json: 4,096 bytes, no place for attachments."""

    name = "ntfy"
    url = "ntfy://{address}/topic"
    accepted = reply_json(200, {"id": "x", "event": "message", "topic": "topic"})
    takes_pictures = True
    refusals: ClassVar = {
        "forbidden": Refusal(
            reply_json(403, {"code": 40301, "http": 403, "error": "forbidden"}),
            Outcome.PERMANENT,
            "forbidden",
        ),
        "too large": Refusal(
            reply_json(413, {"code": 41301, "http": 413, "error": "attachment too large"}),
            Outcome.PERMANENT,
            "attachment too large",
        ),
        "too fast": Refusal(
            reply_json(
                429, {"code": 42901, "http": 429, "error": "limit reached"}, Retry_After="5"
            ),
            Outcome.TRANSIENT,
            "limit reached",
            5,
        ),
        "down": Refusal(
            reply_json(500, {"code": 50001, "http": 500, "error": "internal server error"}),
            Outcome.TRANSIENT,
            "internal server error",
        ),
    }

    def is_for(self, asked: Asked) -> bool:
        return asked.path.partition("?")[0] in ("/", "/topic")

    def is_message(self, asked: Asked) -> bool:
        return asked.path == "/"

    def check(self, asked: Asked) -> None:
        if not self.is_message(asked):  # A file, named in the query.
            query = urllib.parse.parse_qs(asked.path.partition("?")[2])
            need(query.get("filename") == ["chart.png"], reply_json(400, {"code": 40014}))
            return
        payload = json_of(asked, reply_json(400, {"code": 40024, "error": "invalid JSON"}))
        topic = payload.get("topic", "")
        need(re.fullmatch(r"[-_A-Za-z0-9]{1,64}", topic), reply_json(400, {"code": 40009}))
        refused = reply_json(400, {"code": 40014, "error": "attachments not allowed"})
        need(len(payload["message"].encode()) <= 4096, refused)
        # What would be a button or a link of the notification, by header or by field.
        names = {"actions", "click", "attach", "icon", "email", "call", "tags"}
        extras = names & ({name.removeprefix("x-") for name in asked.headers} | payload.keys())
        need(not extras, reply_json(400, {"code": 40018, "error": f"{extras}"}))

    def shown(self, asked: Asked) -> list[Shown]:
        payload = asked.json
        is_markdown = asked.headers.get("x-markdown") == "yes"
        body = Markup.MARKDOWN if is_markdown else Markup.PLAIN
        return [
            Shown(payload.get("title", ""), Markup.PLAIN, "title"),
            Shown(payload["message"], body),
        ]


class Gotify(Form):
    """https://gotify.net/api-docs: a token in a header, Markdown by `client::display`."""

    name = "gotify"
    url = f"gotify://{{address}}/{'t' * 15}"
    accepted = reply_json(200, {"id": 1, "appid": 1, "message": "x"})
    refusals: ClassVar = {
        "wrong token": Refusal(
            reply_json(
                401,
                {
                    "error": "Unauthorized",
                    "errorCode": 401,
                    "errorDescription": "you need to provide a valid access token",
                },
            ),
            Outcome.PERMANENT,
            "valid access token",
        ),
        "down": Refusal(reply_text(503, "starting"), Outcome.TRANSIENT, "starting"),
    }

    def is_for(self, asked: Asked) -> bool:
        return asked.path == "/message"

    def check(self, asked: Asked) -> None:
        refused = reply_json(401, {"error": "Unauthorized", "errorCode": 401})
        need(asked.headers.get("x-gotify-key") == "t" * 15, refused)
        payload = json_of(asked, reply_json(400, {"error": "Bad Request"}))
        need(payload.get("message"), reply_json(400, {"error": "Bad Request"}))
        need(isinstance(payload.get("priority", 0), int), reply_json(400, {"error": "Bad Request"}))

    def shown(self, asked: Asked) -> list[Shown]:
        payload = asked.json
        display = payload.get("extras", {}).get("client::display", {})
        is_markdown = display.get("contentType") == "text/markdown"
        return [
            Shown(payload.get("title", ""), Markup.PLAIN, "title"),
            Shown(payload["message"], Markup.MARKDOWN if is_markdown else Markup.PLAIN),
        ]


class Mattermost(Form):
    """https://developers.mattermost.com/integrate/webhooks/incoming: 16,383 characters."""

    name = "mattermost"
    url = f"mmost://{{address}}/{'t' * 24}"
    accepted = reply_text(200, "ok")
    refusals: ClassVar = {
        "deleted": Refusal(
            reply_json(
                400,
                {
                    "id": "web.incoming_webhook.invalid.app_error",
                    "message": "Invalid webhook.",
                    "status_code": 400,
                },
            ),
            Outcome.PERMANENT,
            "Invalid webhook",
        ),
        "forbidden": Refusal(
            reply_json(403, {"message": "Inappropriate channel permissions."}),
            Outcome.PERMANENT,
            "channel permissions",
        ),
        "too fast": Refusal(
            reply_json(429, {"message": "limit exceeded"}, Retry_After="1"),
            Outcome.TRANSIENT,
            "limit exceeded",
            1,
        ),
        "down": Refusal(reply_json(500, {"message": "no"}), Outcome.TRANSIENT, "no"),
    }

    def is_for(self, asked: Asked) -> bool:
        return re.fullmatch(r"/hooks/\w{24}", asked.path) is not None

    def check(self, asked: Asked) -> None:
        refused = reply_json(400, {"message": "Unable to parse incoming data."})
        payload = json_of(asked, refused)
        need(payload.get("text") or payload.get("attachments"), refused)
        need(len(payload.get("text", "")) <= 16_383, refused)

    def shown(self, asked: Asked) -> list[Shown]:
        return [Shown(asked.json["text"], Markup.MATTERMOST)]


class RocketChat(Form):
    """https://docs.rocket.chat/docs/create-webhook-for-message-automation: 5,000 characters."""

    name = "rocketchat"
    url = f"rocket://{'h' * 17}%2F{'y' * 40}@{{address}}/%23room?mode=webhook"
    accepted = reply_json(200, {"success": True})
    refusals: ClassVar = {
        "deleted": Refusal(
            reply_json(
                400, {"success": False, "error": "Invalid integration id or token provided."}
            ),
            Outcome.PERMANENT,
            "Invalid integration id",
        ),
        "too fast": Refusal(
            reply_json(429, {"success": False, "error": "too many requests"}),
            Outcome.TRANSIENT,
            "too many requests",
        ),
        "down": Refusal(reply_text(502, "Bad Gateway"), Outcome.TRANSIENT, "Bad Gateway"),
    }

    def is_for(self, asked: Asked) -> bool:
        return asked.path == f"/hooks/{'h' * 17}/{'y' * 40}"

    def check(self, asked: Asked) -> None:
        refused = reply_json(400, {"success": False, "error": "invalid-channel"})
        payload = json_of(asked, refused)
        need(payload.get("channel") == "#room", refused)
        need(0 < len(payload.get("text", "")) <= 5000, refused)

    def shown(self, asked: Asked) -> list[Shown]:
        return [Shown(asked.json["text"], Markup.ROCKETCHAT)]


class Matrix(Form):
    """https://spec.matrix.org/v1.14/client-server-api/: log in, join the room, send, 64 KiB."""

    name = "matrix"
    url = "matrix://user:sekretpassword@{address}/!room:localhost"
    accepted = reply_json(200, {"event_id": "$1"})
    takes_pictures = True
    refusals: ClassVar = {
        "wrong password": Refusal(
            reply_json(403, {"errcode": "M_FORBIDDEN", "error": "Invalid username or password"}),
            Outcome.PERMANENT,
            "Invalid username or password",
        ),
        "too fast": Refusal(
            reply_json(
                429,
                {"errcode": "M_LIMIT_EXCEEDED", "error": "Too Many", "retry_after_ms": 21_000},
            ),
            Outcome.TRANSIENT,
            "M_LIMIT_EXCEEDED",
            21,
        ),
        "down": Refusal(reply_json(502, {"errcode": "M_UNKNOWN"}), Outcome.TRANSIENT, "M_UNKNOWN"),
    }

    def is_for(self, asked: Asked) -> bool:
        return asked.path.startswith("/_matrix/")

    def check(self, asked: Asked) -> None:
        need("/register" not in asked.path, reply_json(403, {"errcode": "M_FORBIDDEN"}))
        if "/login" not in asked.path:
            refused = reply_json(401, {"errcode": "M_MISSING_TOKEN"})
            need(asked.headers.get("authorization") == "Bearer syt_token", refused)
        if self.is_message(asked):
            bad = reply_json(400, {"errcode": "M_BAD_JSON"})
            payload = json_of(asked, bad)
            if payload.get("msgtype") == "m.image":
                need(payload["url"] == "mxc://localhost/picture", bad)
                return
            need(payload.get("msgtype") in ("m.text", "m.notice") and payload.get("body"), bad)
            need(len(asked.body) <= 65_536, reply_json(413, {"errcode": "M_TOO_LARGE"}))

    def is_message(self, asked: Asked) -> bool:
        return "/send/m.room.message" in asked.path

    def answer(self, asked: Asked) -> Reply:
        if "/login" in asked.path:
            return reply_json(
                200,
                {"user_id": "@user:localhost", "access_token": "syt_token", "device_id": "D"},
            )
        if "/join" in asked.path:
            return reply_json(200, {"room_id": "!room:localhost"})
        if "/upload" in asked.path:
            return reply_json(200, {"content_uri": "mxc://localhost/picture"})
        if self.is_message(asked):
            return self.accepted
        return reply_json(404, {"errcode": "M_NOT_FOUND", "error": "not found"})

    def shown(self, asked: Asked) -> list[Shown]:
        payload = asked.json
        texts = [Shown(payload["body"], Markup.MATRIX_PLAIN)]
        if payload.get("format") == "org.matrix.custom.html":
            texts.append(Shown(payload["formatted_body"], Markup.MATRIX_HTML))
        return texts


# --- webhooks of no service -----------------------------------------------------------------------


class Json(Form):
    """Strict JSON."""

    name = "json"
    url = "json://user:sekretpassword@{address}/json/?+X-Key=sekretheader"
    accepted = Reply(200)

    def is_for(self, asked: Asked) -> bool:
        return asked.path.startswith("/json")

    def check(self, asked: Asked) -> None:
        payload = json_of(asked, Reply(400))
        need(payload.keys() == {"version", "title", "message", "attachments", "type"}, Reply(400))

    def shown(self, asked: Asked) -> list[Shown]:
        payload = asked.json
        return [
            Shown(payload["title"], Markup.EXACT, "title"),
            Shown(payload["message"], Markup.EXACT),
        ]


class Xml(Form):
    """XML 1.0, without a DTD."""

    name = "xml"
    url = "xml://{address}/xml/"
    accepted = Reply(200)

    def is_for(self, asked: Asked) -> bool:
        return asked.path.startswith("/xml")

    def check(self, asked: Asked) -> None:
        need(b"<!DOCTYPE" not in asked.body and b"<!ENTITY" not in asked.body, Reply(400))
        try:
            root = ET.fromstring(asked.body)
        except ET.ParseError as error:
            raise Broken(reply_text(400, str(error))) from None
        names = [each.tag.rpartition("}")[2] for each in root.iter()]
        need(names[:3] == ["Envelope", "Body", "Notification"], Reply(400))
        expected = ["Version", "Subject", "Message", "MessageType"]
        need([name for name in names[3:] if name in expected] == expected, Reply(400))
        need(set(names[3:]) <= {*expected, "Attachments", "Attachment"}, Reply(400))

    def shown(self, asked: Asked) -> list[Shown]:
        found = {each.tag: each.text or "" for each in ET.fromstring(asked.body).iter()}
        return [
            Shown(found["Subject"], Markup.EXACT, "title"),
            Shown(found["Message"], Markup.EXACT),
        ]


class FormData(Form):
    """URL-encoded fields."""

    name = "form"
    url = "form://{address}/form/"
    accepted = Reply(200)
    takes_pictures = True

    def is_for(self, asked: Asked) -> bool:
        return asked.path.startswith("/form")

    def check(self, asked: Asked) -> None:
        if "multipart/form-data" in asked.headers["content-type"]:
            return
        pairs = urllib.parse.parse_qsl(asked.body.decode(), keep_blank_values=True)
        names = [name for name, _ in pairs]
        need(names == ["version", "title", "message", "type"], Reply(400))

    def shown(self, asked: Asked) -> list[Shown]:
        fields = dict(urllib.parse.parse_qsl(asked.body.decode(), keep_blank_values=True))
        return [
            Shown(fields["title"], Markup.EXACT, "title"),
            Shown(fields["message"], Markup.EXACT),
        ]


FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Slack(), SlackBlocks(), SlackBot(), Discord(), Teams(), Telegram(), Ntfy(), Gotify(),
        Mattermost(), RocketChat(), Matrix(), Json(), Xml(), FormData(),
    )
}  # fmt: skip


@dataclass
class Services(Judge):
    """All of them behind one address. What was out of form is in `broken`."""

    broken: list[tuple[Asked, Reply]] = field(default_factory=list)

    def form_of(self, asked: Asked) -> Form:
        return next(form for form in FORMS.values() if form.is_for(asked))

    def answer(self, asked: Asked) -> Reply:
        try:
            form = self.form_of(asked)
            form.check(asked)
        except Broken as broken:
            self.broken.append((asked, broken.reply))
            return broken.reply
        except (StopIteration, KeyError, ValueError, TypeError) as error:
            reply = reply_json(400, {"error": f"{type(error).__name__}: {error}"})
            self.broken.append((asked, reply))
            return reply
        return form.answer(asked)


def texts_of(asked: Asked) -> str:
    """All that a request carries, for a look whether something is in it at all."""
    return json.dumps([asked.path, asked.headers]) + asked.body.decode("utf-8", "replace")
