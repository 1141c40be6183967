"""Starts PostgreSQL as the usual image does: a new database of the asked name in an empty volume."""
import os
import subprocess

data = "/var/lib/postgresql/data"
programs = "/usr/lib/postgresql/15/bin/"
os.makedirs(data, exist_ok=True)
os.chown(data, 999, 999)
os.chmod(data, 0o700)
os.environ["LD_LIBRARY_PATH"] = "/usr/lib/x86_64-linux-gnu"
os.setgroups([])
os.setgid(999)
os.setuid(999)
os.environ["HOME"] = data
if not os.path.exists(data + "/PG_VERSION"):
    user = os.environ["POSTGRES_USER"]
    subprocess.run(
        [programs + "initdb", "-D", data, "-U", user, "--auth=trust", "-E", "UTF8", "--locale=C"],
        check=True,
    )
    with open(data + "/pg_hba.conf", "a") as rules:
        rules.write("host all all all trust\n")
    subprocess.run(
        [programs + "postgres", "--single", "-D", data, "postgres"],
        input=f'CREATE DATABASE "{os.environ["POSTGRES_DB"]}"\n'.encode(),
        check=True,
    )
os.execv(programs + "postgres", [programs + "postgres", "-D", data, "-c", "listen_addresses=*"])
