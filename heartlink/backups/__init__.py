"""Backups of the embedded store: made while the server runs, checked, restored under a new epoch."""

from heartlink.backups.archive import Manifest, Problem, read_manifest
from heartlink.backups.checking import check_archive, check_folder
from heartlink.backups.making import back_up
from heartlink.backups.restoring import restore

__all__ = ["Manifest", "Problem", "back_up", "check_archive", "check_folder", "read_manifest", "restore"]
