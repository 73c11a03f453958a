# A libvirt domain's XML, changed in place: whatever is not changed stays as it
# is, to the byte, comments and all.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re
from xml.parsers import expat

from overlay import OverlayError

QEMU_NAMESPACE = 'http://libvirt.org/schemas/domain/qemu/1.0'

START_TAG = re.compile(rb'''<([^\s/>]+)(?:"[^"]*"|'[^']*'|[^>"'])*>''')


class Element:
    """One element, and where its parts are in the text.

    Its tag is a name, behind the namespace and a space where it has one.
    """

    def __init__(self, tag, attributes, start):
        self.tag = tag
        self.attributes = attributes
        self.children = []
        self.start = start

    def place(self, data, end_tag):
        """Note where it ends; expat says where its end tag is."""
        match = START_TAG.match(data, self.start)
        self.name = match[1].decode()   # as it is spelled
        self.inner_start = match.end()
        self.is_empty = match[0].endswith(b'/>')
        if self.is_empty:
            self.inner_end = self.end = self.inner_start
        else:
            self.inner_end = end_tag
            self.end = data.index(b'>', end_tag) + 1

    @property
    def prefix(self):
        """That of its name, with the colon."""
        return ''.join(self.name.rpartition(':')[:2])

    def find_all(self, tag):
        return [child for child in self.children if child.tag == tag]

    def find(self, tag):
        return next(iter(self.find_all(tag)), None)

    def walk(self):
        for child in self.children:
            yield child
            yield from child.walk()


class Document:
    """The text of an XML document, and its elements.

    A change is made at once: elements that were found before it are no longer
    those of the document.
    """

    def __init__(self, data):
        self.data = data
        self.parse()

    def parse(self):
        self.root = None
        self.open = []
        self.prefixes = {}      # of the root: namespaces by prefix
        self.parser = expat.ParserCreate(namespace_separator=' ')
        self.parser.StartElementHandler = self.start_element
        self.parser.EndElementHandler = self.end_element
        self.parser.StartNamespaceDeclHandler = self.start_namespace
        self.parser.StartDoctypeDeclHandler = self.start_doctype
        try:
            self.data.decode()
            self.parser.Parse(self.data, True)
        except UnicodeDecodeError:
            raise OverlayError('the XML is not in UTF-8') from None
        except expat.ExpatError as error:
            raise OverlayError(f'this is not XML: {error}') from None

    def start_doctype(self, name, *_):
        # It could define entities, and then text is not what it seems to be.
        raise OverlayError(f'the XML has a document type, {name}, which '
                           'no XML of libvirt has')

    def start_namespace(self, prefix, namespace):
        if not self.root:
            self.prefixes[prefix] = namespace

    def start_element(self, tag, attributes):
        element = Element(tag, attributes, self.parser.CurrentByteIndex)
        if self.open:
            self.open[-1].children.append(element)
        else:
            self.root = element
        self.open.append(element)

    def end_element(self, _):
        self.open.pop().place(self.data, self.parser.CurrentByteIndex)

    def text_of(self, element):
        """The text in an element that has nothing else inside."""
        text = self.data[element.inner_start:element.inner_end]
        return unescape(text.decode()).strip()

    def indent_of(self, element):
        """The white space before an element on its line."""
        line = self.data.rfind(b'\n', 0, element.start) + 1
        before = self.data[line:element.start].decode()
        return '' if before.strip() else before

    # ---- changes ----

    def replace(self, start, end, text):
        self.data = (self.data[:start] +
                     text.encode('ascii', 'xmlcharrefreplace') +
                     self.data[end:])
        self.parse()

    def replace_element(self, element, text):
        self.replace(element.start, element.end, text)

    def set_content(self, element, content):
        """Give an element other content; its attributes stay."""
        if element.is_empty:
            tag = self.data[element.start:element.end - 2].decode().rstrip()
            self.replace_element(element, f'{tag}>{content}</{element.name}>')
        else:
            self.replace(element.inner_start, element.inner_end, content)

    def insert_before(self, element, lines):
        indent = self.indent_of(element)
        self.replace(element.start, element.start,
                     ''.join(f'{line}\n{indent}' for line in lines))

    def insert_after(self, element, lines):
        indent = self.indent_of(element)
        self.replace(element.end, element.end,
                     ''.join(f'\n{indent}{line}' for line in lines))

    def append(self, parent, lines):
        """Put lines, which are indented among themselves, at its end."""
        outer = self.indent_of(parent)
        text = ''.join(f'\n{outer}  {line}' for line in lines) + f'\n{outer}'
        if parent.is_empty:
            self.set_content(parent, text)
            return
        inner = self.data[parent.inner_start:parent.inner_end].rstrip()
        self.replace(parent.inner_start + len(inner), parent.inner_end, text)

    def remove(self, element):
        """Take an element out, with its line if it is alone there."""
        start = element.start - len(self.indent_of(element).encode())
        if self.data[start - 1:start] == b'\n':
            start -= 1
        self.replace(start, element.end, '')

    def declare_qemu(self):
        """The prefix of elements for QEMU, which is made known if need be."""
        for prefix, namespace in self.prefixes.items():
            if namespace == QEMU_NAMESPACE and prefix:
                return f'{prefix}:'
        prefix = 'qemu'
        while prefix in self.prefixes:
            prefix += '-'
        end = self.root.inner_start - (2 if self.root.is_empty else 1)
        self.replace(end, end, f" xmlns:{prefix}='{QEMU_NAMESPACE}'")
        return f'{prefix}:'


def qemu_tag(name):
    return f'{QEMU_NAMESPACE} {name}'


ESCAPES = {'&': '&amp;', '<': '&lt;', '>': '&gt;', "'": '&apos;',
           '"': '&quot;'}


def escape(text):
    """As libvirt does it."""
    return ''.join(ESCAPES.get(c, c) for c in text)


def unescape(text):
    names = {entity: char for char, entity in ESCAPES.items()}

    def char_of(match):
        entity = match[0]
        if entity in names:
            return names[entity]
        number = entity[2:-1]
        return chr(int(number[1:], 16) if number[0] == 'x' else int(number))
    return re.sub(r'&[^;]*;', char_of, text)
