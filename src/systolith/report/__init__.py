"""Reports: tables for people, JSON and JUnit for machines, reference texts for programmers."""
