"""An MQTT client and an HTTP client as applications and devices elsewhere are written.

Nothing waits for a length of time: every wait is for a message or a state, with a deadline.
"""

import itertools
import json
import queue
import time
import urllib.error
import urllib.request

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

WITHIN_SECONDS = 20
SESSION_EXPIRY_SECONDS = 3600


class Failed(Exception):
    """What was expected and did not come."""


def check(condition, text):
    if not condition:
        raise Failed(text)


def equal(found, expected, what):
    check(found == expected, f"{what}: expected {expected!r}, found {found!r}")


class Message:
    def __init__(self, raw):
        self.topic = raw.topic
        self.qos = raw.qos
        self.payload = raw.payload

    def json(self):
        try:
            return json.loads(self.payload)
        except ValueError as error:
            raise Failed(f"{self.topic} has no JSON: {self.payload!r}: {error}") from error

    def __repr__(self):
        return f"{self.topic} {self.payload.decode(errors='replace')}"


class Client:
    """One connection. `user` names a device; without it the client is anonymous."""

    def __init__(self, place, client_id, user=None, clean=True):
        self.place = place
        self.client_id = client_id
        self.is_v5 = place.version == 5
        self.clean = clean
        self.arrived = queue.Queue()
        self.seen = []
        options = {} if self.is_v5 else {"clean_session": clean}
        self.mqtt = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=mqtt.MQTTv5 if self.is_v5 else mqtt.MQTTv311,
            reconnect_on_failure=False,
            **options,
        )
        if user is not None:
            self.mqtt.username_pw_set(user)
        self.answers = queue.Queue()
        self.ends = queue.Queue()
        self.mqtt.on_connect = lambda _c, _u, flags, reason, _p: self.answers.put((flags, reason))
        self.mqtt.on_disconnect = lambda _c, _u, _f, reason, _p: self.ends.put(reason)
        self.mqtt.on_subscribe = lambda _c, _u, _m, reasons, _p: self.answers.put(reasons)
        self.mqtt.on_publish = lambda _c, _u, mid, reason, _p: self.answers.put((mid, reason))
        self.mqtt.on_message = lambda _c, _u, raw: self.arrived.put(Message(raw))

    def answer(self, what):
        try:
            return self.answers.get(timeout=WITHIN_SECONDS)
        except queue.Empty:
            raise Failed(f"{self.client_id}: no answer to {what}") from None

    def connect(self):
        """Connects; returns whether the server had a session of this client."""
        options = {}
        if self.is_v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if self.clean else SESSION_EXPIRY_SECONDS
            options = {"clean_start": self.clean, "properties": properties}
        host, port = self.place.next_mqtt()
        self.mqtt.connect(host, port, keepalive=60, **options)
        self.mqtt.loop_start()
        flags, reason = self.answer("CONNECT")
        check(not reason.is_failure, f"{self.client_id}: connection refused: {reason}")
        return flags.session_present

    def disconnect(self):
        self.mqtt.disconnect()
        self.end()
        self.mqtt.loop_stop()

    def end(self):
        """Waits for the end of the connection; returns why it ended."""
        try:
            return self.ends.get(timeout=WITHIN_SECONDS)
        except queue.Empty:
            raise Failed(f"{self.client_id}: the connection does not end") from None

    def subscribe(self, *filters):
        for one in filters:
            reason = self.subscribe_reason(one)
            check(not reason.is_failure, f"{self.client_id}: subscription to {one}: {reason}")

    def subscribe_reason(self, one):
        self.mqtt.subscribe(one, qos=1)
        return self.answer(f"SUBSCRIBE {one}")[0]

    def publish(self, topic, payload):
        reason = self.publish_reason(topic, payload)
        check(not reason.is_failure, f"{self.client_id}: publish on {topic}: {reason}")

    def publish_reason(self, topic, payload):
        """Publishes at QoS 1; returns the reason code of the acknowledgement."""
        body = payload if isinstance(payload, (bytes, str)) else json.dumps(payload)
        self.mqtt.publish(topic, body, qos=1)
        return self.answer(f"PUBLISH {topic}")[1]

    def expect(self, topic, where=lambda message: True):
        """Waits for a message of the topic for which `where` holds, and takes it; others stay."""
        return self.take(lambda message: message.topic == topic and where(message), f"on {topic}")

    def expect_under(self, prefix):
        """Waits for a message whose topic begins like that, and takes it."""
        return self.take(lambda message: message.topic.startswith(prefix), f"under {prefix}")

    def take(self, where, what):
        deadline = time.monotonic() + WITHIN_SECONDS
        while True:
            for index, message in enumerate(self.seen):
                if where(message):
                    return self.seen.pop(index)
            try:
                rest = max(deadline - time.monotonic(), 0)
                self.seen.append(self.arrived.get(timeout=rest))
            except queue.Empty:
                raise Failed(
                    f"{self.client_id}: no such message {what}; came: {self.seen}"
                ) from None

    def has(self, topic):
        """Whether a message of the topic has come and was not taken."""
        while not self.arrived.empty():
            self.seen.append(self.arrived.get())
        return any(message.topic == topic for message in self.seen)


class Place:
    """Where the servers are, and which version of MQTT to speak to them.

    Of several, each connection and each request goes to the next one.
    """

    def __init__(self, mqtt_addresses, http_bases, version, bridged=False):
        self.mqtt_addresses = itertools.cycle(mqtt_addresses.split(","))
        self.http_bases = itertools.cycle(base.rstrip("/") for base in http_bases.split(","))
        self.version = version
        # Devices are on a broker that knows nothing of them, behind a bridge.
        self.bridged = bridged

    def next_mqtt(self):
        """Host and port for the next connection."""
        host, _, port = next(self.mqtt_addresses).rpartition(":")
        return host, int(port)

    def http(self, method, path, body=None, headers=None):
        """Sends a request; returns status, headers and the body as JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(next(self.http_bases) + path, data=data, method=method)
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=70) as response:
                return response.status, response.headers, read(response)
        except urllib.error.HTTPError as error:
            return error.code, error.headers, read(error)

    def get(self, path):
        status, _, body = self.http("GET", path)
        equal(status, 200, f"GET {path} ({body})")
        return body

    def get_until(self, path, wanted, what):
        """Reads until `wanted` holds: what a message changes is seen soon after its PUBACK."""
        deadline = time.monotonic() + WITHIN_SECONDS
        while True:
            status, _, body = self.http("GET", path)
            if status == 200 and wanted(body):
                return body
            check(time.monotonic() < deadline, f"GET {path}: {what}; last: {status} {body}")

    def desire(self, device, desired, headers=None):
        path = f"/v1/devices/{device}/shadow"
        headers = {"content-type": "application/merge-patch+json", **(headers or {})}
        return self.http("PATCH", path, {"state": {"desired": desired}}, headers)

    def call(self, device, service, inputs, timeout_ms=15000):
        path = f"/v1/devices/{device}/calls/{service}?timeout_ms={timeout_ms}"
        return self.http("POST", path, inputs, {"content-type": "application/json"})


def read(response):
    text = response.read()
    kind = response.headers.get("content-type", "")
    return json.loads(text) if "json" in kind else text.decode()
