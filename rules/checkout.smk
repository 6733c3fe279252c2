"""Where this workflow lies and where its results go: the checkout, and the results folder.

Both are the caller's to choose if this workflow is a module of another one: it may be read from a repository, of which
Snakemake keeps a bare clone only, and `prefix` or `replace_prefix` may move the results.
"""

import os
import tarfile
import tempfile

from snakemake.io import flag
from snakemake.path_modifier import PATH_MODIFIER_FLAG
from snakemake.sourcecache import HostingProviderFile, LocalGitFile


def find_checkout(rules_folder):
    """The folder of this machine that holds the workflow whose folder of rules is the source `rules_folder`."""
    if isinstance(rules_folder, HostingProviderFile):
        return unpacked(rules_folder.hosted_repo.repo, rules_folder) / Path(rules_folder.path).parent
    if isinstance(rules_folder, LocalGitFile):
        import git  # which takes a while, and Snakemake does too

        return unpacked(git.Repo(rules_folder.repo_path), rules_folder) / Path(rules_folder.path).parent
    return Path(os.path.abspath(rules_folder.get_path_or_uri(secret_free=True))).parent


def unpacked(repository, source):
    """The files of a commit, unpacked once beside Snakemake's own copies of sources."""
    commit = repository.commit(source.ref).hexsha
    folder = workflow.sourcecache.cache_path / "vqaflow" / commit
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch, tempfile.TemporaryFile() as archive:
            repository.archive(archive, commit)
            archive.seek(0)
            with tarfile.open(fileobj=archive) as files:
                files.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and newer have it
                files.extractall(Path(scratch, "files"))
            try:
                os.rename(Path(scratch, "files"), folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster
                    raise
    return folder


# Not workflow.basedir, which is that of the main workflow if this one is a module of it.
CHECKOUT = find_checkout(workflow.current_basedir)
IS_MODULE = not workflow.modifier.is_main_snakefile()
PATHS = workflow.modifier.path_modifier
RESULTS_FOLDER = Path(PATHS.replace_prefix("results/any")).parent


def placed(path):
    """A path of the settings as the run's folder knows it: what they place in results/ is among this run's results."""
    inside = Path(path).is_relative_to("results")
    return str(RESULTS_FOLDER / Path(path).relative_to("results")) if inside else path


def given(path):
    """A path of the settings as an input: `prefix` moves the results of a module, and not what the user names."""
    if PATHS.replace_prefix(path) == path:
        return path
    return flag(PATHS.apply_default_storage(path), PATH_MODIFIER_FLAG)
