#!/bin/sh
cat /srv/list
