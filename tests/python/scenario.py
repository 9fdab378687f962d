#!/usr/bin/env python3
"""Runs one scenario against a running server, as devices and applications elsewhere would.

    scenario.py --mqtt 127.0.0.1:1883 --http http://127.0.0.1:8080 --version 5 plain_alert

Prints what was not as expected and exits with 1; exits with 2 when there is no such scenario.
"""

import argparse
import sys
import traceback

import alink
import plain
from client import Failed, Place

SCENARIOS = {**plain.SCENARIOS, **alink.SCENARIOS}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mqtt", default="127.0.0.1:1883", help="several with commas")
    parser.add_argument("--http", default="http://127.0.0.1:8080", help="several with commas")
    parser.add_argument("--version", type=int, choices=[3, 5], default=3)
    parser.add_argument("--bridged", action="store_true", help="--mqtt is a broker with a bridge")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("scenario", nargs="?")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(sorted(SCENARIOS)))
        return 0
    if arguments.scenario not in SCENARIOS:
        print(f"no scenario {arguments.scenario}: {', '.join(sorted(SCENARIOS))}")
        return 2
    place = Place(arguments.mqtt, arguments.http, arguments.version, arguments.bridged)
    try:
        SCENARIOS[arguments.scenario](place)
    except Failed as failed:
        traceback.print_exc(limit=-2)
        print(f"FAILED {arguments.scenario} (MQTT {arguments.version}): {failed}")
        return 1
    print(f"ok {arguments.scenario} (MQTT {arguments.version})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
