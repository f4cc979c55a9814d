"""Commands of ``renderocc``, one module each; see ``renderocc_ros.lazy_commands``."""
