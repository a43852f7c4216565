"""Archives: any number of photos and videos to partitioned Parquet, on this machine or on Ray."""

from fer_edge.archive.listing import Listing, list_files
from fer_edge.archive.processes import Processes
from fer_edge.archive.run import Summary, analyze_archive, recorded_facts
from fer_edge.archive.tasks import Executor, Settings

__all__ = [
    "Executor",
    "Listing",
    "Processes",
    "Settings",
    "Summary",
    "analyze_archive",
    "list_files",
    "recorded_facts",
]
