"""The bridge to MQTT: what the map shows, as retained messages that Home Assistant discovers (docs/mqtt.md).

A service and no function: it follows the database, not the events. docs/adr/0009-mqtt-follows-the-database.md has why.
"""
