#!/bin/sh
# Removes from a fresh Debian what an agent does not need, and makes the account that agents run as.
set -eu

# Git needs Perl only for a few subcommands (send-email, svn). Its packages go, and the dependency is taken out of the
# record, so that a task which asks for Perl gets the whole of it and apt sees no broken package.
dpkg --purge --force-depends perl perl-modules-5.36 libperl5.36 liberror-perl git-man libgdbm-compat4 >/dev/null
python3 - <<'PY'
import re
path = "/var/lib/dpkg/status"
gone = {"perl", "liberror-perl", "git-man", "libperl5.36", "perl-modules-5.36"}
blocks = open(path).read().split("\n\n")
for i, block in enumerate(blocks):
    if re.match(r"Package: git\n", block):
        def keep(match):
            parts = [p.strip() for p in match.group(2).split(",")]
            kept = [p for p in parts if re.split(r"[ (|]", p)[0] not in gone]
            return f"{match.group(1)}: {', '.join(kept)}"
        blocks[i] = re.sub(r"^(Depends): (.*)$", keep, block, flags=re.M)
open(path, "w").write("\n\n".join(blocks))
PY
apt-get check

# Git's servers and network helpers are of no use without a network; its second copy of itself becomes a link.
cd /usr/lib/git-core
rm -f git-http-push git-http-fetch git-http-backend git-imap-send git-daemon git-shell scalar /usr/bin/scalar git-instaweb
rm -rf /usr/share/gitweb
cmp -s git /usr/bin/git && ln -sf ../../bin/git git
cd /

groupadd --gid 61000 agent
useradd --uid 61000 --gid 61000 --home-dir /tmp/home --no-create-home --shell /bin/bash agent

find /usr/share/doc -mindepth 2 -not -name copyright -not -type d -delete
find /usr/share/doc -mindepth 1 -type d -empty -delete
find /usr/share/locale -mindepth 1 -maxdepth 1 -not -name locale.alias -exec rm -rf {} +
rm -rf /usr/share/man /usr/share/info /usr/share/lintian
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/log/* /tmp/* \
       /etc/machine-id /var/lib/dbus/machine-id
