#!/bin/sh
# slim.sh: take out of the base image what a running service never uses: installers, headers, documentation, set-uid.
set -eu
for lib in /usr/lib/python3* /usr/local/lib/python3*; do
  [ -d "$lib" ] || continue
  rm -rf "$lib"/ensurepip "$lib"/idlelib "$lib"/test "$lib"/lib2to3 "$lib"/tkinter "$lib"/config-*
  for name in pip setuptools wheel pkg_resources _distutils_hack; do
    rm -rf "$lib"/dist-packages/$name "$lib"/dist-packages/$name-* "$lib"/site-packages/$name "$lib"/site-packages/$name-*
  done
done
rm -f /usr/bin/pip* /usr/local/bin/pip* /etc/pip.conf
# Perl is there for installers only; gconv converts texts for programs in C, which we have none of.
rm -rf /usr/bin/perl* /usr/lib/*-linux-gnu/perl-base /usr/lib/*-linux-gnu/gconv /usr/share/perl5 /usr/share/python-wheels
rm -rf /usr/bin/apt* /usr/bin/gpgv /usr/lib/apt /usr/lib/*-linux-gnu/libapt-* /etc/apt /usr/share/lintian /usr/share/bug
rm -rf /usr/include /usr/local/include /usr/share/doc /usr/share/man /usr/share/info /usr/share/locale
rm -rf /var/lib/apt/lists /var/cache/apt /var/cache/debconf /var/log /root/.cache
find /usr -xdev \( -name '*.a' -o -name '*.pyc' \) -delete
find / -xdev -perm /6000 -type f -exec chmod a-s {} +
echo 'aimic:x:10001:10001:AIMIC:/tmp:/usr/sbin/nologin' >>/etc/passwd
echo 'aimic:x:10001:' >>/etc/group
mkdir -p /data /var/log && chown 10001:10001 /data
