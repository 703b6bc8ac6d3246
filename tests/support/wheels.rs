//! Packages of some bytes, in a folder that uv takes for an index.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes the archive that its name says: a wheel `NAME-VERSION-PY-ABI-PLATFORM.whl` or a source `NAME-VERSION.tar.gz`, with one module `NAME`
/// whose `says()` gives `text`. The same bytes for the same words. A source builds itself; among its requirements `build:TOOL` is a package that
/// it builds with, whose word its `built()` gives, `tag:PY-ABI-PLATFORM` what its wheel is for, `odd:` makes other bytes
/// each time, and `waits:FILE` writes the number of the process that builds to a file and then waits.
const WRITE: &str = r#"
import base64, hashlib, io, sys, tarfile, zipfile
path, text, requires = sys.argv[1], sys.argv[2], sys.argv[3:]
BACKEND = '''
import importlib, os, stat, sys, time, zipfile
def build_wheel(folder, settings=None, metadata=None):
    if WAITS:
        open(WAITS + '.new', 'w').write(str(os.getpid()))
        os.rename(WAITS + '.new', WAITS)
        time.sleep(120)
    about, file = 'NAME-VERSION.dist-info', 'NAME-VERSION-' + TAG + '.whl'
    tools = ' '.join(sorted(f'{tool}={importlib.import_module(tool).says()}' for tool in TOOLS))
    module = open('NAME.py').read() + f'def built(): return {tools!r}\\n' + (f'seed = {os.urandom(8)!r}\\n' if ODD else '')
    open('made', 'w').write('')
    parts = {'NAME.py': module, about + '/METADATA': open('PKG-INFO').read(), about + '/WHEEL': 'Wheel-Version: 1.0\\nGenerator: hand\\nRoot-Is-Purelib: true\\nTag: ' + TAG + '\\n', about + '/RECORD': ''}
    with zipfile.ZipFile(os.path.join(folder, file), 'w') as archive:
        for part, body in parts.items():
            # The clock and the mask of this build, as other builders note them.
            info = zipfile.ZipInfo(part, time.gmtime(int(os.environ.get('SOURCE_DATE_EPOCH', time.time())))[:6])
            info.external_attr = os.stat('made').st_mode << 16
            archive.writestr(info, body)
    return file
'''
file = path.rsplit('/', 1)[1]
name, version = file.removesuffix('.whl').removesuffix('.tar.gz').split('-')[:2]
metadata = f'Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n' + ''.join(f'Requires-Dist: {one}\n' for one in requires)
module = f'def says(): return {text!r}\n'
if file.endswith('.tar.gz'):
    told = lambda word: [one.removeprefix(word) for one in requires if one.startswith(word)]
    tools, tag, odd, waits = told('build:'), (told('tag:') + ['py3-none-any'])[0], 'odd:' in requires, (told('waits:') + [''])[0]
    requires = [one for one in requires if ':' not in one]
    metadata = f'Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n' + ''.join(f'Requires-Dist: {one}\n' for one in requires)
    project = f'[build-system]\nrequires = {tools!r}\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    project += f'[project]\nname = {name!r}\nversion = {version!r}\ndependencies = {requires!r}\n'
    parts = {'PKG-INFO': metadata, 'pyproject.toml': project, f'{name}.py': module, 'backend.py': BACKEND.replace('NAME', name).replace('VERSION', version).replace('TOOLS', repr(tools)).replace('TAG', repr(tag)).replace('ODD', repr(odd)).replace('WAITS', repr(waits))}
    with tarfile.open(path, 'w:gz') as archive:
        for part, body in parts.items():
            info = tarfile.TarInfo(f'{name}-{version}/{part}')
            info.size = len(body.encode())
            archive.addfile(info, io.BytesIO(body.encode()))
    sys.exit()
tag = '-'.join(file.removesuffix('.whl').split('-')[-3:])
about = f'{name}-{version}.dist-info'
parts = {f'{name}.py': module, f'{about}/METADATA': metadata, f'{about}/WHEEL': f'Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: {tag}\n'}
sum = lambda body: base64.urlsafe_b64encode(hashlib.sha256(body.encode()).digest()).decode().rstrip('=')
parts[f'{about}/RECORD'] = ''.join(f'{part},sha256={sum(body)},{len(body.encode())}\n' for part, body in parts.items()) + f'{about}/RECORD,,\n'
with zipfile.ZipFile(path, 'w') as archive:
    for part, body in parts.items():
        archive.writestr(zipfile.ZipInfo(part), body)
"#;

/// Writes one.
#[track_caller]
pub fn package(folder: &Path, file: &str, text: &str, requires: &[&str]) -> PathBuf {
    std::fs::create_dir_all(folder).expect("mkdir");
    let path = folder.join(file);
    let mut command = Command::new("python3");
    command.args(["-c", WRITE]).arg(&path).arg(text).args(requires);
    assert!(command.status().expect("python3 starts").success(), "{file}");
    path
}

/// The version of the Python that is here: `3.11`.
pub fn version() -> String {
    let ask = "import sys; print('%d.%d' % sys.version_info[:2])";
    let output = Command::new("python3").args(["-c", ask]).output().expect("python3 starts");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}
