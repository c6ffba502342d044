import importlib.metadata as metadata, json, os, platform, sys

version = sys.implementation.version
kind = "" if version.releaselevel == "final" else version.releaselevel[0] + str(version.serial)
markers = {
    "implementation_name": sys.implementation.name,
    "implementation_version": "%d.%d.%d%s" % (version.major, version.minor, version.micro, kind),
    "os_name": os.name,
    "platform_machine": platform.machine(),
    "platform_python_implementation": platform.python_implementation(),
    "platform_release": platform.release(),
    "platform_system": platform.system(),
    "platform_version": platform.version(),
    "python_full_version": platform.python_version(),
    "python_version": "%d.%d" % sys.version_info[:2],
    "sys_platform": sys.platform,
}
packages = []
for found in metadata.distributions():
    name = found.metadata["Name"]
    if not name:
        continue
    packages.append({
        "name": name,
        "version": found.version,
        "requires": found.requires or [],
        "root": str(found.locate_file("")),
        "metadata": str(getattr(found, "_path", "")),
    })
json.dump({"markers": markers, "path": sys.path, "packages": packages}, sys.stdout)
