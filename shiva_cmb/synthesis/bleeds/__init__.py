"""Microbleeds: how many, how large, where, and what they do to the signal; also in real scans."""
