"""As much of JSON Schema (draft 2020-12) as the schemas of this folder use."""

import re

TYPES = {
    "object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None),
}
KNOWN = {
    "$schema", "$defs", "$ref", "title", "description", "type", "const", "enum", "oneOf", "pattern", "minimum", "minItems",
    "maxItems",    "items", "properties", "required", "additionalProperties",
}


def problem(schema, value, root=None, path=""):
    """Where `value` is not as `schema` says, None if it is."""
    root = schema if root is None else root
    unknown = schema.keys() - KNOWN
    if unknown:
        return f"{path}: the schema uses {', '.join(sorted(unknown))}, which schema.py does not know"
    if "$ref" in schema:
        found = problem(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], value, root, path)
        if found:
            return found
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(is_of(value, name) for name in names):
            return f"{path} is not of type {' or '.join(names)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{path} is {value!r}, none of those allowed"
    if "const" in schema and value != schema["const"]:
        return f"{path} is {value!r}, not {schema['const']!r}"
    if "oneOf" in schema and sum(not problem(one, value, root, path) for one in schema["oneOf"]) != 1:
        return f"{path} is not exactly one of what it may be"
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        return f"{path} does not match {schema['pattern']}"
    if "minimum" in schema and value < schema["minimum"]:
        return f"{path} is below {schema['minimum']}"
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            return f"{path} has fewer than {schema['minItems']} items"
        if len(value) > schema.get("maxItems", len(value)):
            return f"{path} has more than {schema['maxItems']} items"
        for index, item in enumerate(value):
            found = problem(schema.get("items", {}), item, root, f"{path}[{index}]")
            if found:
                return found
    if isinstance(value, dict):
        for name in schema.get("required", []):
            if name not in value:
                return f"{path}.{name} is missing"
        properties = schema.get("properties", {})
        for name, item in value.items():
            if name in properties:
                found = problem(properties[name], item, root, f"{path}.{name}")
            elif schema.get("additionalProperties") is False:
                found = f"{path}.{name} is not in the schema"
            else:
                found = problem(schema.get("additionalProperties", {}) or {}, item, root, f"{path}.{name}")
            if found:
                return found
    return None


def is_of(value, name):
    # In Python a boolean is an integer too.
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
