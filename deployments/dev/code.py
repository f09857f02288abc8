"""The component types, imported anew when the code of a plug-in changes that isn't installed as a package."""

from __future__ import annotations

import importlib
import site
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from deployments import components
from graphs.component import Registry
from graphs.errors import AnabranchError

INSTALLED = ("stdlib", "platstdlib", "purelib", "platlib")
SHELVES = frozenset({"site-packages", "dist-packages"})
"""What the folders of installed packages are called, those of the system beside those of an environment too."""
OURS = ("anabranch", "deployments", "graphs")
ROOT = Path(__file__).resolve().parent.parent.parent


class Code:
    """The modules that component types come from."""

    def __init__(self) -> None:
        # A module that changes twice within a second would be taken from its old bytecode.
        sys.dont_write_bytecode = True
        self.files: frozenset[Path] = frozenset()
        """Files whose change may change a component type; those of modules that could not be imported too."""
        self._registry: Registry = {}
        self._stale = True
        self._before = frozenset(sys.modules)
        """Modules that were imported for something else."""
        folders = [Path(sysconfig.get_path(each)) for each in INSTALLED]
        folders += [Path(each) for each in (*site.getsitepackages(), site.getusersitepackages())]
        folders += [ROOT / package for package in OURS]
        self._others = tuple({folder.resolve() for folder in folders})
        """Folders of code that authors of component types don't edit."""

    def changed(self, paths: Iterable[Path]) -> None:
        """Have the types imported anew if one of their files is among the paths."""
        if not self.files.isdisjoint(paths):
            self._stale = True

    def registry(self) -> Registry:
        """Return the component types. Where they can't be imported, the modules that were stay, and the error says why."""
        if not self._stale:
            return self._registry
        self._stale = False  # before they are imported: what changes meanwhile makes them stale again
        old = dict(self._modules())
        for name in old:
            del sys.modules[name]
        importlib.invalidate_caches()
        try:
            self._registry = components.registry()
        except AnabranchError as error:
            self._stale = True
            self.files |= {path for path in _files_of(error) if self._is_written(path)}
            for name, _ in list(self._modules()):
                del sys.modules[name]
            sys.modules.update(old)
            raise
        finally:
            self.files |= {Path(str(module.__file__)).resolve() for _, module in self._modules()}
        return self._registry

    def _modules(self) -> Iterator[tuple[str, ModuleType]]:
        """Yield the modules that were imported, and whose files their author may edit."""
        for name, module in list(sys.modules.items()):
            # getattr: modules that are built in have no file.
            file = getattr(module, "__file__", None)
            if name not in self._before and isinstance(file, str) and self._is_written(Path(file)):
                yield name, module

    def _is_written(self, path: Path) -> bool:
        path = path.resolve()
        if path.suffix != ".py" or not SHELVES.isdisjoint(path.parts):
            return False
        return not any(path.is_relative_to(folder) for folder in self._others)


def _files_of(error: BaseException) -> Iterator[Path]:
    """Yield the files that an error, or one that it came from, passed through."""
    known: BaseException | None = error
    while known is not None:
        yield from (Path(frame.filename).resolve() for frame in traceback.extract_tb(known.__traceback__))
        if isinstance(known, SyntaxError) and known.filename is not None:
            yield Path(known.filename).resolve()
        known = known.__cause__ or known.__context__
