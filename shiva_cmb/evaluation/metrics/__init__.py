"""Figures as pure functions of the numbers of many cases; one idea a file."""
