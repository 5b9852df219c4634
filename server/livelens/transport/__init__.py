"""Sockets: the page and the websocket on one port, and who may reach them."""
