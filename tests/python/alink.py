"""Scenarios of devices that speak Alibaba's Alink, as its SDKs do."""

import time

from client import Client, check, equal
from plain import call_beside

NOW_MS = int(time.time() * 1000)


class Room:
    """A cold room whose firmware speaks Alink. It subscribes to nothing: replies and requests of
    the system come all the same."""

    def __init__(self, place, name):
        self.place = place
        self.name = name
        self.key = f"coldroom/{name}"
        self.sys = f"/sys/coldroom/{name}"
        self.shadow_path = f"/v1/devices/{self.key}/shadow"
        extended = f"securemode=3,signmethod=hmacsha1,timestamp={NOW_MS},_ss=1"
        client_id = f"coldroom.{name}|{extended}|"
        self.client = Client(place, client_id, user=f"{name}&coldroom")
        self.client.connect()
        if place.bridged:
            # Another broker sends only what is subscribed to.
            own = ["event/+/post_reply", "event/property/batch/post_reply", "service/property/set"]
            own = [f"{self.sys}/thing/{rest}" for rest in own + ["service/+"]]
            self.client.subscribe(*own, f"{self.sys}/rrpc/request/+")

    def post(self, rest, params, number="17", **more):
        """Publishes a request and returns the reply, whose form is checked."""
        topic = f"{self.sys}/thing/{rest}"
        self.send(rest, params, number, **more)
        where = lambda message: message.json().get("id") == number
        reply = self.client.expect(f"{topic}_reply", where).json()
        equal(reply.get("version"), "1.0", f"version of the reply {reply}")
        equal(reply.get("method"), f"thing.{rest}".replace("/", "."), "method of the reply")
        check(isinstance(reply.get("code"), int), f"code of the reply {reply}")
        check(isinstance(reply.get("data"), dict), f"data of the reply {reply}")
        check(isinstance(reply.get("message"), str), f"message of the reply {reply}")
        return reply

    def send(self, rest, params, number="17", **more):
        body = {
            "id": number,
            "version": "1.0",
            "params": params,
            "method": f"thing.{rest}".replace("/", "."),
            **more,
        }
        self.client.publish(f"{self.sys}/thing/{rest}", body)

    def accepted(self, rest, params, number="17", **more):
        reply = self.post(rest, params, number, **more)
        equal((reply["code"], reply["data"]), (200, {}), "reply")
        equal(reply["message"], "success", "message of the reply")

    def refused(self, payload, code):
        """Publishes bytes as a property post; the reply must have that code."""
        topic = f"{self.sys}/thing/event/property/post"
        self.client.publish(topic, payload)
        reply = self.client.expect(f"{topic}_reply").json()
        equal(reply["code"], code, f"reply to {payload[:60]}: {reply}")

    def reported(self, name, value):
        wanted = lambda shadow: shadow["state"].get("reported", {}).get(name) == value
        return self.place.get_until(self.shadow_path, wanted, f"{name} is not {value}")

    def online(self):
        path = f"/v1/devices/{self.key}"
        self.place.get_until(path, lambda device: device["presence"]["online"], "offline")

    def alert(self, client, topic, status):
        return client.expect(topic, lambda message: message.json()["status"] == status).json()


def alert(place):
    room = Room(place, "a-alert")
    watcher = Client(place, "watcher")
    watcher.connect()
    plain_topic, own_topic = f"devices/{room.key}/alerts", f"/{room.key}/user/alert"
    watcher.subscribe(plain_topic)
    room.client.subscribe(own_topic)

    wrapped = {"temperature": {"value": 9.5, "time": NOW_MS}, "humidity": 55.5, "door": 1}
    room.accepted("event/property/post", wrapped)
    raised = room.alert(room.client, own_topic, "active")
    expected = {"alert": "too_warm", "severity": "major", "device": "a-alert", "at": NOW_MS}
    equal({key: raised.get(key) for key in expected}, expected, "alert")
    equal(raised["values"], {"temperature": 9.5}, "values of the alert")
    equal(room.alert(watcher, plain_topic, "active"), raised, "the alert on the plain topic")
    reported = room.reported("temperature", 9.5)["state"]["reported"]
    equal(reported["humidity"], 55.5, "humidity")

    room.accepted("event/property/post", {"temperature": 6.5}, number="18")
    cleared = room.alert(room.client, own_topic, "cleared")
    equal(cleared["id"], raised["id"], "id of the cleared alert")


def desired(place):
    room = Room(place, "a-desired")
    room.accepted("event/property/post", {"setpoint": 2.0})
    status, _, body = place.desire(room.key, {"setpoint": 4.0})
    equal(status, 200, f"PATCH ({body})")
    topic = f"{room.sys}/thing/service/property/set"
    told = room.client.expect(topic).json()
    check(told["id"].isdigit(), f"id is not decimal digits: {told}")
    equal(told["method"], "thing.service.property.set", "method")
    equal(told["version"], "1.0", "version")
    equal(told["params"], {"setpoint": 4.0}, "params")

    # The device's reply changes nothing; its next post does.
    room.client.publish(f"{topic}_reply", {"id": told["id"], "code": 200, "data": {}})
    equal(place.get(room.shadow_path)["state"]["reported"], {"setpoint": 2.0}, "reported")
    room.accepted("event/property/post", {"setpoint": 4.0}, number="18")
    equal(room.reported("setpoint", 4.0)["state"].get("delta", {}), {}, "delta after the post")


def call(place):
    room = Room(place, "a-call")
    room.accepted("event/property/post", {"temperature": 4.0})
    room.online()

    wait = call_beside(place, room.key, "defrost", {"minutes": 5})
    topic = f"{room.sys}/thing/service/defrost"
    request = room.client.expect(topic).json()
    equal(request["params"], {"minutes": 5}, "inputs of defrost")
    equal(request["method"], "thing.service.defrost", "method of defrost")
    room.client.publish(f"{topic}_reply", {"id": request["id"], "code": 200, "data": {}})
    equal(wait(), (200, {}), "reply of defrost")

    # A synchronous service comes as an RRPC.
    wait = call_beside(place, room.key, "selfTest", {})
    prefix = f"{room.sys}/rrpc/request/"
    message = room.client.expect_under(prefix)
    request = message.json()
    equal(request["method"], "thing.service.selfTest", "method of selfTest")
    outputs = {"passed": 1, "report": "all well"}
    reply = {"id": request["id"], "code": 200, "data": outputs}
    room.client.publish(f"{room.sys}/rrpc/response/{message.topic[len(prefix):]}", reply)
    status, body = wait()
    equal(status, 200, f"reply of selfTest ({body})")
    equal((bool(body["passed"]), body["report"]), (True, "all well"), "outputs of selfTest")

    wait = call_beside(place, room.key, "defrost", {"minutes": 6})
    request = room.client.expect(topic).json()
    room.client.publish(f"{topic}_reply", {"id": request["id"], "code": 5001, "data": {}})
    status, body = wait()
    check(status >= 500, f"a failure of the device is answered {status} {body}")


def event(place):
    room = Room(place, "a-event")
    topic = f"/{room.key}/user/alert"
    room.client.subscribe(topic)
    fault = {"code": 17, "detail": "low pressure"}
    for index, params in enumerate(
        [{"value": fault, "time": NOW_MS}, {"value": fault}, fault]
    ):
        room.accepted("event/compressorFault/post", params, number=str(index))
        raised = room.alert(room.client, topic, "active")
        equal(raised["alert"], "compressor_fault", "alert")
        equal(raised["values"], fault, "values of the alert")
        room.accepted("event/property/post", {"compressor": 1}, number=f"c{index}")
        room.alert(room.client, topic, "cleared")


def batch(place):
    room = Room(place, "a-batch")
    topic = f"/{room.key}/user/alert"
    room.client.subscribe(topic)
    points = [{"value": 5.0, "time": NOW_MS}, {"value": 9.5, "time": NOW_MS + 1000}]
    fault = {"value": {"code": 17, "detail": "x"}, "time": NOW_MS}
    params = {"properties": {"temperature": points}, "events": {"compressorFault": [fault]}}
    room.accepted("event/property/batch/post", params)
    alerts = {room.client.expect(topic).json()["alert"] for _ in range(2)}
    equal(alerts, {"too_warm", "compressor_fault"}, "alerts")
    shadow = room.reported("temperature", 9.5)
    stamp = shadow["metadata"]["reported"]["temperature"]["timestamp"]
    equal(stamp, NOW_MS + 1000, "time of the last value")


def rejected(place):
    room = Room(place, "a-rejected")
    # Unknown and ill-typed properties do not sink their neighbours; the code stays 200.
    params = {"temperature": 5.0, "Foo": 1, "humidity": "wet"}
    reply = room.post("event/property/post", params)
    equal(reply["code"], 200, "code of a reply with bad parts")
    equal(sorted(reply["data"]), ["Foo", "humidity"], "what is named as refused")
    check("params not exist" in reply["data"]["Foo"], f"text for an unknown property: {reply}")
    equal(room.reported("temperature", 5.0)["version"], 1, "version after one applied report")

    room.refused(b"not json", 6207)
    room.refused(b"\xff\xfe", 6207)
    room.refused(b'{"id":"1","version":"1.0"}', 460)
    room.refused(b'{"id":"1","version":"1.0","params":7}', 460)
    many = ",".join(f'"p{index}":1' for index in range(201))
    room.refused(b'{"id":"1","version":"1.0","params":{%s}}' % many.encode(), 6106)
    late = b'{"id":"1","version":"1.0","params":{"temperature":{"value":1,"time":"soon"}}}'
    room.refused(late, 6326)

    # A number as an id comes back as text; a device that asks for silence has it.
    topic = f"{room.sys}/thing/event/property/post"
    room.client.publish(topic, {"id": 41, "params": {"temperature": 5.5}})
    equal(room.client.expect(f"{topic}_reply").json()["id"], "41", "id that was a number")
    room.send("event/property/post", {"temperature": 5.6}, "42", sys={"ack": 0})
    room.accepted("event/property/post", {"temperature": 5.7}, "43", sys={"ack": 1})
    check(not room.client.has(f"{topic}_reply"), "a reply although sys.ack is 0")
    room.reported("temperature", 5.7)


SCENARIOS = {
    f"alink_{run.__name__}": run for run in [alert, desired, call, event, batch, rejected]
}
