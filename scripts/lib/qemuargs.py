# The arguments for QEMU in a libvirt domain's XML: <qemu:commandline>.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import re

from domainxml import escape, qemu_tag

# What an option's first property is, where its name is left out.
IMPLIED = {'-netdev': 'type', '-device': 'driver', '-object': 'qom-type'}


def parse_properties(name, value):
    """The properties in an option's value, in either of QEMU's notations."""
    if value.startswith('{'):
        try:
            return {key: str(v) for key, v in json.loads(value).items()}
        except ValueError:
            return {}
    properties = {}
    # A comma that belongs to a value is written twice.
    for i, word in enumerate(re.findall('(?:[^,]|,,)+', value)):
        key, equals, rest = word.replace(',,', ',').partition('=')
        if not equals:
            key, rest = (IMPLIED[name], key) if i == 0 else (key, 'on')
        properties[key] = rest
    return properties


class Option:
    """One of QEMU's options, in the XML if it has elements there.

    >>> Option('-netdev', 'user,id=up0').id
    'up0'
    """

    def __init__(self, name, value, elements=()):
        self.name = name
        self.value = value
        self.elements = elements
        self.properties = {}
        if name in IMPLIED:
            self.properties = parse_properties(name, value)

    def __str__(self):
        return f'{self.name} {self.value}'

    @property
    def id(self):
        return self.get('id')

    @property
    def kind(self):
        return self.get(IMPLIED[self.name])

    def get(self, key):
        return self.properties.get(key)


class CommandLine:
    """All that <qemu:commandline> has, and changes of it."""

    def __init__(self, document):
        self.document = document

    def options(self):
        """In their order."""
        args = [arg for line in self.lines()
                for arg in line.find_all(qemu_tag('arg'))]
        found = []
        for arg in args:
            value = arg.attributes.get('value', '')
            if found and not found[-1].value and not value.startswith('-'):
                name, elements = found[-1].name, found[-1].elements
                found[-1] = Option(name, value, [*elements, arg])
            else:
                name = f'-{value.lstrip("-")}'
                found.append(Option(name, '', [arg]))
        return found

    def lines(self):
        return self.document.root.find_all(qemu_tag('commandline'))

    def named(self, name):
        return [option for option in self.options() if option.name == name]

    def find(self, name, key, value):
        return next((option for option in self.named(name)
                     if option.get(key) == value), None)

    def index(self, option):
        """Which one of all it is."""
        return [str(other) for other in self.options()].index(str(option))

    # ---- changes; options that were found before one are out of date ----

    @staticmethod
    def element(prefix, value):
        return f"<{prefix}arg value='{escape(value)}'/>"

    def elements(self, prefix, option):
        return [self.element(prefix, option.name),
                self.element(prefix, option.value)]

    def add(self, option, before=None):
        """Put an option behind all others, or before that one."""
        if before:
            arg = before.elements[0]
            self.document.insert_before(arg, self.elements(arg.prefix, option))
            return
        if not self.lines():
            self.add_line()
        line = self.lines()[-1]
        args = line.find_all(qemu_tag('arg'))
        if args:
            self.document.insert_after(
                args[-1], self.elements(args[-1].prefix, option))
        elif line.children:
            self.document.insert_before(
                line.children[0], self.elements(line.prefix, option))
        else:
            self.document.append(line, self.elements(line.prefix, option))

    def add_line(self):
        prefix = self.document.declare_qemu()
        self.document.append(self.document.root, [f'<{prefix}commandline/>'])

    def change(self, old, new):
        if old.value != new.value:
            arg = old.elements[1]
            self.document.replace_element(arg,
                                          self.element(arg.prefix, new.value))

    def remove(self, option):
        for element in reversed(option.elements):
            self.document.remove(element)

    def put(self, old, new):
        """Have an option in the place of another, or behind all."""
        if old:
            self.change(old, new)
        else:
            self.add(new)
