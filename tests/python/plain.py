"""Scenarios of devices that speak plain JSON topics."""

import threading
import time

from client import Client, check, equal

NOW_MS = int(time.time() * 1000)


class Room:
    """A cold room of its own name for each scenario."""

    def __init__(self, place, name):
        self.place = place
        self.key = f"coldroom/{name}"
        self.base = f"devices/coldroom/{name}"
        self.shadow_path = f"/v1/devices/{self.key}/shadow"
        self.client = Client(place, f"plain-{name}", user=self.key)

    def telemetry(self, values):
        self.client.publish(f"{self.base}/telemetry", values)

    def reported(self, name, value):
        """Waits until the shadow reports the value; returns the shadow."""
        wanted = lambda shadow: shadow["state"].get("reported", {}).get(name) == value
        return self.place.get_until(self.shadow_path, wanted, f"{name} is not {value}")

    def alert(self, status, client=None):
        """Waits for an alert of that status on the room's own topic."""
        client = client or self.client
        topic = f"{self.base}/alerts"
        return client.expect(topic, lambda message: message.json()["status"] == status).json()

    def online(self, wanted=True):
        path = f"/v1/devices/{self.key}"
        is_so = lambda device: device["presence"]["online"] is wanted
        self.place.get_until(path, is_so, f"online is not {wanted}")


def call_beside(place, device, service, inputs, timeout_ms=15000):
    """Calls a service in a thread; returns a function that waits for status and body."""
    result = []

    def run():
        result.append(place.call(device, service, inputs, timeout_ms))

    thread = threading.Thread(target=run)
    thread.start()

    def wait():
        thread.join(70)
        check(result, f"the call of {service} does not return")
        return result[0][0], result[0][2]

    return wait


def alert(place):
    room = Room(place, "alert")
    watcher = Client(place, "watcher")
    watcher.connect()
    watcher.subscribe("devices/coldroom/+/alerts")
    room.client.connect()
    room.client.subscribe(f"{room.base}/alerts")

    room.telemetry({"temperature": 4.0, "humidity": 55.5, "door": False, "compressor": 1})
    shadow = room.reported("temperature", 4.0)
    equal(shadow["version"], 1, "version after one report")
    equal(shadow["state"]["reported"]["humidity"], 55.5, "humidity")
    stamp = shadow["metadata"]["reported"]["temperature"]["timestamp"]
    check(abs(stamp - NOW_MS) < 600_000, f"timestamp {stamp} is not Unix milliseconds of now")

    at = NOW_MS + 1000
    room.telemetry({"time": at, "values": {"temperature": 9.5}})
    raised = room.alert("active")
    expected = {
        "alert": "too_warm",
        "status": "active",
        "severity": "major",
        "product": "coldroom",
        "device": "alert",
        "at": at,
        "values": {"temperature": 9.5},
    }
    equal({key: raised.get(key) for key in expected}, expected, "alert")
    check(raised["message"] and raised["id"], f"message and id of {raised}")
    equal(room.alert("active", watcher), raised, "what the watcher sees")
    listed = place.get(f"/v1/devices/{room.key}/alerts")["alerts"]
    equal([(one["alert"], one["status"]) for one in listed], [("too_warm", "active")], "alerts")

    # Between the limits nothing changes: the next alert is the one that clears.
    room.telemetry({"time": at + 1000, "values": {"temperature": 7.5}})
    room.telemetry({"time": at + 2000, "values": {"temperature": 10.5}})
    room.telemetry({"time": at + 3000, "values": {"temperature": 7.0}})
    cleared = room.alert("cleared")
    equal(cleared["id"], raised["id"], "id of the cleared alert")
    equal(cleared["values"], {"temperature": 7.0}, "values of the cleared alert")
    equal(cleared["at"], at + 3000, "time of the cleared alert")
    equal(room.alert("cleared", watcher), cleared, "what the watcher sees")
    check(not room.client.has(f"{room.base}/alerts"), "an alert came twice")
    equal(room.reported("temperature", 7.0)["version"], 5, "version after five reports")

    # A report older than what is kept changes nothing but its neighbours.
    room.telemetry({"time": at, "values": {"temperature": 20.0, "label": "late"}})
    shadow = room.reported("label", "late")
    equal(shadow["state"]["reported"]["temperature"], 7.0, "temperature after a late report")


def desired(place):
    room = Room(place, "desired")
    topic = f"{room.base}/desired"
    room.client.connect()
    room.client.subscribe(topic)
    room.telemetry({"setpoint": 2.0})
    room.reported("setpoint", 2.0)

    status, headers, body = place.desire(room.key, {"setpoint": 4.0})
    equal(status, 200, f"PATCH ({body})")
    equal(body["version"], 2, "version after desiring")
    tag = headers.get("etag")
    check(tag, "no ETag after desiring")
    told = room.client.expect(topic, lambda message: "setpoint" in message.json())
    equal(told.json(), {"setpoint": 4.0}, "what the device is told")
    equal(told.qos, 1, "QoS at which the device is told")
    state = place.get(room.shadow_path)["state"]
    expected = {
        "desired": {"setpoint": 4.0},
        "reported": {"setpoint": 2.0},
        "delta": {"setpoint": 4.0},
    }
    equal(state, expected, "state before the device has reported")

    room.telemetry({"setpoint": 4.0})
    state = room.reported("setpoint", 4.0)["state"]
    equal(state.get("delta", {}), {}, "delta after the device has reported")

    status, _, body = place.desire(room.key, {"setpoint": 5.0}, {"if-match": tag})
    equal(status, 412, f"PATCH with an old ETag ({body})")
    equal(body["status"], 412, f"the problem document {body}")
    _, headers, _ = place.http("GET", room.shadow_path)
    status, _, body = place.desire(room.key, {"setpoint": 5.0}, {"if-match": headers["etag"]})
    equal(status, 200, f"PATCH with the current ETag ({body})")
    status, _, body = place.desire(room.key, {"setpoint": 500.0})
    equal(status, 422, f"PATCH with a value out of range ({body})")
    status, _, body = place.desire(room.key, {"setpoint": None})
    equal(status, 200, f"PATCH with null ({body})")
    equal(place.get(room.shadow_path)["state"].get("desired", {}), {}, "desired after null")


def desired_while_away(place):
    room = Room(place, "away")
    topic = f"{room.base}/desired"
    room.client = Client(place, "plain-away", user=room.key, clean=False)
    equal(room.client.connect(), False, "session present at the first connection")
    room.client.subscribe(topic)
    room.telemetry({"setpoint": 2.0})
    room.online()
    room.client.disconnect()
    room.online(False)

    equal(place.desire(room.key, {"setpoint": 4.0})[0], 200, "PATCH")
    back = Client(place, "plain-away", user=room.key, clean=False)
    equal(back.connect(), True, "session present at the second connection")
    equal(back.expect(topic).json(), {"setpoint": 4.0}, "what the device finds")


def call(place):
    room = Room(place, "call")
    room.client.connect()
    room.client.subscribe(f"{room.base}/calls/#")
    if place.bridged:
        # Behind a bridge a device is online once it has spoken.
        room.client.publish(f"{room.base}/telemetry", {"temperature": 4.0})
    room.online()

    for service, inputs, outputs in [
        ("defrost", {"minutes": 5}, {}),
        ("selfTest", {}, {"passed": True, "report": "all well"}),
    ]:
        wait = call_beside(place, room.key, service, inputs)
        prefix = f"{room.base}/calls/{service}/"
        request = room.client.expect_under(prefix)
        equal(request.json(), inputs, f"inputs of {service}")
        room.client.publish(f"{room.base}/replies/{request.topic[len(prefix):]}", outputs)
        equal(wait(), (200, outputs), f"reply of {service}")

    status, _, body = place.call(room.key, "defrost", {"minutes": 90})
    equal(status, 422, f"call with an input out of range ({body})")
    status, _, body = place.call(room.key, "defrost", {"minutes": "five"})
    equal(status, 422, f"call with an input of another type ({body})")
    status, _, body = place.call(room.key, "defrost", {"minutes": 5}, timeout_ms=200)
    equal(status, 504, f"call without a reply ({body})")

    if place.bridged:
        # A broker does not say who is connected.
        return
    room.client.disconnect()
    room.online(False)
    status, _, body = place.call(room.key, "defrost", {"minutes": 5})
    equal(status, 409, f"call of a device that is offline ({body})")
    equal(body["status"], 409, f"the problem document {body}")


def request(place):
    room = Room(place, "request")
    room.client.connect()
    room.client.subscribe(f"{room.base}/responses/+", f"{room.base}/rejected")
    room.client.publish(f"{room.base}/requests/limits/r-7", {})
    answer = room.client.expect(f"{room.base}/responses/r-7")
    equal(answer.json(), {"min": 2.0, "max": 8.0}, "limits")
    room.client.publish(f"{room.base}/requests/limits/r-8", b"")
    room.client.expect(f"{room.base}/responses/r-8")
    room.client.publish(f"{room.base}/requests/nonsense/r-9", {})
    refused = room.client.expect(f"{room.base}/rejected").json()
    check("nonsense" in refused["topic"] and refused["reason"], f"refusal {refused}")


def event(place):
    room = Room(place, "event")
    room.client.connect()
    room.client.subscribe(f"{room.base}/alerts")
    fault = {"code": 17, "detail": "low pressure"}
    room.client.publish(f"{room.base}/events/compressorFault", fault)
    raised = room.alert("active")
    equal(raised["alert"], "compressor_fault", "alert of a compressor fault")
    equal(raised["values"], fault, "values of the alert")
    room.telemetry({"compressor": 1})
    equal(room.alert("cleared")["id"], raised["id"], "id of the cleared alert")


def rejected(place):
    room = Room(place, "rejected")
    room.client.connect()
    room.client.subscribe(f"{room.base}/rejected")
    dead_before = len(place.get("/v1/dead")["dead"])
    bad = [
        (b"not json", "not JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[1,2]", "no object"),
        (b'{"temperature":NaN}', "NaN"),
        (b'{"temperature":1e400}', "too large a number"),
        (b'{"temperature":1,"temperature":2}', "a key twice"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "10,000 levels"),
        (b'{"temperature":"warm"}', "another type"),
        (b'{"temperature":99}', "out of range"),
        (b'{"temprature":5}', "an unknown property"),
        (b'{"time":"soon","values":{"temperature":5}}', "no time"),
    ]
    for payload, what in bad:
        room.telemetry(payload)
        refused = room.client.expect(f"{room.base}/rejected").json()
        equal(refused["topic"], f"{room.base}/telemetry", f"topic of the refusal of {what}")
        check(refused["reason"], f"no reason for {what}: {refused}")
    has_all = lambda body: len(body["dead"]) - dead_before >= len(bad)
    for letter in place.get_until("/v1/dead", has_all, "dead letters are missing")["dead"]:
        check(letter.get("reason"), f"a dead letter without a reason: {letter}")

    # A bad part does not sink its good neighbours, and nothing of the above was applied.
    room.telemetry({"temperature": 5.0, "temprature": 5.0, "humidity": 200})
    refused = room.client.expect(f"{room.base}/rejected").json()
    named = sorted(fault["identifier"] for fault in refused["faults"])
    equal(named, ["humidity", "temprature"], "what is named as refused")
    equal(room.reported("temperature", 5.0)["version"], 1, "version after one applied report")
    equal(place.get(room.shadow_path)["state"]["reported"], {"temperature": 5.0}, "reported")


def confined(place):
    room = Room(place, "confined")
    room.client.connect()
    foreign = "devices/coldroom/neighbour"
    for one in [f"{foreign}/alerts", "devices/coldroom/+/alerts", "#"]:
        check(room.client.subscribe_reason(one).is_failure, f"subscription to {one} is granted")
    if place.version == 5:
        reason = room.client.publish_reason(f"{foreign}/telemetry", {"temperature": 9.5})
        equal(reason.value, 0x87, "reason code of a publish on another device's topic")
    else:
        # 3.1.1 has no answer for it: the server may acknowledge or close the connection.
        room.client.mqtt.publish(f"{foreign}/telemetry", '{"temperature": 9.5}', qos=1)
    other = Room(place, "confined-too")
    other.client.connect()
    other.telemetry({"temperature": 1.0})
    other.reported("temperature", 1.0)
    status, _, _ = place.http("GET", "/v1/devices/coldroom/neighbour/shadow")
    equal(status, 404, "status of the device that was meddled with")


def session(place):
    room = Room(place, "session")
    room.client.connect()
    watcher = Client(place, "sleeper", clean=False)
    equal(watcher.connect(), False, "session present at the first connection")
    watcher.subscribe(f"{room.base}/alerts")
    watcher.disconnect()
    room.telemetry({"temperature": 9.5})
    room.telemetry({"temperature": 5.0})
    room.reported("temperature", 5.0)
    back = Client(place, "sleeper", clean=False)
    equal(back.connect(), True, "session present at the second connection")
    raised, cleared = room.alert("active", back), room.alert("cleared", back)
    equal(cleared["id"], raised["id"], "id of the cleared alert")
    status = [one["status"] for one in place.get(f"/v1/devices/{room.key}/alerts")["alerts"]]
    equal(status, ["cleared"], "alerts over HTTP")


def taken_over(place):
    room = Room(place, "twice")
    room.client.connect()
    room.online()
    again = Client(place, "plain-twice", user=room.key)
    again.connect()
    reason = room.client.end()
    if place.version == 5:
        equal(reason.value, 0x8E, "reason code for the connection that was taken over")
    again.publish(f"{room.base}/telemetry", {"temperature": 4.0})
    room.reported("temperature", 4.0)
    room.online()


SCENARIOS = {
    f"plain_{run.__name__}": run
    for run in [
        alert,
        desired,
        desired_while_away,
        call,
        request,
        event,
        rejected,
        confined,
        session,
        taken_over,
    ]
}
