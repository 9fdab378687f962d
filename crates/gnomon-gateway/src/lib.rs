//! Device listeners: MQTT 3.1.1 and 5 over TCP, acknowledged only after the queue.
