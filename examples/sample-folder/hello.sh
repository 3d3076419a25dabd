#!/bin/sh
echo "the executable bit travels too"
