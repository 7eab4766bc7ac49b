#!/bin/sh
# Install the system libraries that Qt and OpenGL need on a bare Debian or Ubuntu.
#
# Runs apt-get directly as root, through sudo where it asks for no password, and otherwise prints
# the exact line and goes on: everything but the windows works without these libraries.
# Does nothing where they are there already, and nothing on other systems.
set -u

command -v apt-get >/dev/null 2>&1 || exit 0

packages="
    fontconfig fonts-dejavu-core
    libdbus-1-3 libegl1 libgl1 libgl1-mesa-dri libglib2.0-0 libglx-mesa0 libopengl0
    libx11-xcb1 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0
    libxcb-render-util0 libxcb-shape0 libxcb-sync1 libxcb-util1 libxcb-xfixes0 libxcb-xinerama0
    libxcb-xkb1 libxkbcommon-x11-0 libxkbcommon0 libxrender1
    python3-venv xauth xvfb
"

missing=""
for package in $packages; do
    # Newer releases renamed some packages (libglib2.0-0t64): a provider counts as well.
    if ! dpkg-query -W -f '${Status} ${Package} ${Provides}\n' "$package" "${package}t64" \
        2>/dev/null | grep -q "^install ok installed"; then
        missing="$missing $package"
    fi
done
[ -z "$missing" ] && exit 0

install="apt-get install --yes --no-install-recommends$missing"
if [ "$(id -u)" -eq 0 ]; then
    runner="env DEBIAN_FRONTEND=noninteractive"
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    runner="sudo env DEBIAN_FRONTEND=noninteractive"
else
    echo "System libraries for the windows are missing. Install them, then go on:"
    echo "    sudo apt-get update && sudo $install"
    exit 0
fi

echo "Installing system libraries for Qt and OpenGL:$missing"
# shellcheck disable=SC2086 # the lists are meant to be split
if ! { $runner apt-get update -qq && $runner $install -qq >/dev/null; }; then
    echo "That failed; the windows may not open. The line to try by hand:"
    echo "    $install"
fi
exit 0
