"""Tests; a package so that test modules can import `tests.harness` whatever their directory."""
