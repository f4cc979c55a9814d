"""Sub-commands of ``renderocc-train``, one module each; see ``renderocc_ros.lazy_commands``."""
