"""Operating this portal: the command line, starting and serving, migrations, keys, backups."""
