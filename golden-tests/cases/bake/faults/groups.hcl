group "default" { targets = ["all"] }
group "all" { targets = ["default"] }
